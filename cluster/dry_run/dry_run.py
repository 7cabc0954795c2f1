"""Plan of what a recipe does and needs, computed without a GPU, a cluster or a download."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.config.environments import parts_of
from cluster.config.recipe import Recipe, RoleConfig
from cluster.dry_run.engine import assess_engine
from cluster.dry_run.findings import Assessment, Finding, MemoryUse
from cluster.dry_run.learner import assess_learner
from cluster.dry_run.machine import Machine, machine_findings
from cluster.dry_run.model_shapes import KNOWN_SHAPES
from cluster.dry_run.tasks import DataSource, TaskCounter, file_sources
from cluster.dry_run.vocabulary import row_findings
from cluster.run.directory import RunDirectory
from cluster.run.phases import PHASES, used_sections
from cluster.run.plan import Plan, make_plan
from cluster.run.playable import agent_errors
from cluster.run.tasks import TaskLists
from cluster.run.weights import EXACT_TEACHER, check_models, model_settings
from cluster.runtime.resources import ResourceGroup, ray_options, resource_groups
from rollout.errors import UserError

DEFAULT_GPU_GIB = 80.0


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the plan. ``episodes`` and ``tokens`` are upper bounds, or 0 if the step has none."""

    title: str
    episodes: int = 0
    tokens: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The plan of a run and the problems found in it. ``gpu_gib`` is the assumed memory of each GPU."""

    recipe: Recipe
    gpu_gib: float
    data: tuple[DataSource, ...]
    rows: tuple[Row, ...]
    groups: tuple[ResourceGroup, ...]
    memory: tuple[MemoryUse, ...]
    all_estimated: bool
    """Whether the memory of every engine and of the learner could be estimated."""
    findings: tuple[Finding, ...]

    @property
    def can_run(self) -> bool:
        """Whether no finding is fatal. Data that is missing on this machine is not fatal."""
        return not any(finding.fatal for finding in self.findings)


def dry_run(
    recipe: Recipe,
    gpu_gib: float = DEFAULT_GPU_GIB,
    phases: Collection[str] = PHASES,
    machine: Machine | None = None,
    *,
    starts: bool = False,
) -> DryRun:
    """Compute what a recipe does and needs on GPUs of ``gpu_gib`` GiB each. Reads no run directory.

    Args:
        phases: only what one of these uses is checked.
        machine: where the command runs, to compare it with what the workers need; None leaves this out.
        starts: whether the run is about to start here, see `cluster.dry_run.machine.machine_findings`.
    """
    tasks = TaskCounter()
    lists = TaskLists(recipe, tasks.draw, phases)
    plan = make_plan(recipe, RunDirectory(Path("RUN_DIR")), lists)
    groups = resource_groups(plan, recipe, phases)
    data = (*(entry for entry in tasks.data if entry.section in lists.used), *file_sources(recipe, phases))
    assessments = list(_assess(recipe, gpu_gib, used_sections(recipe, phases)))
    uses = tuple(part.use for part in assessments if part.use)
    findings = [
        *(entry.finding for entry in data if entry.finding),
        *_resource_findings(groups),
        *(machine_findings(machine, groups, uses, starts=starts) if machine else ()),
        *_agent_findings(recipe, phases),
        *(finding for part in assessments for finding in part.findings),
    ]
    return DryRun(
        recipe,
        gpu_gib,
        data,
        tuple(rows(plan, recipe)),
        tuple(groups),
        uses,
        all(part.use for part in assessments),
        tuple(dict.fromkeys(findings)),
    )


def rows(plan: Plan, recipe: Recipe) -> Iterator[Row]:
    """Rows of the plan, in the order of its steps."""
    if recipe.retrieval is not None:
        yield Row("retrieval starts", note=f"index of {recipe.retrieval.corpus}, built if it is missing")
    yield Row("engines start", note="teacher and student" if recipe.student_has_start else "teacher")
    for step in plan.steps:
        yield Row(step.title, step.cost.episodes, step.cost.tokens, step.cost.note)
    yield Row("report")


def _assess(recipe: Recipe, gpu_gib: float, sections: Collection[str]) -> Iterator[Assessment]:
    for section, role in _roles(recipe):
        assessment = assess_engine(recipe, section, role, gpu_gib) if section in sections else None
        yield from [assessment] if assessment else []
    if recipe.learner is not None and "learner" in sections:
        yield assess_learner(recipe, recipe.learner, gpu_gib)


def _roles(recipe: Recipe) -> Iterator[tuple[str, RoleConfig]]:
    yield "teacher", recipe.teacher
    if recipe.student is not None:
        yield "student", recipe.student


def _resource_findings(groups: Sequence[ResourceGroup]) -> Iterator[Finding]:
    for request in (request for group in groups for request in group.requests):
        try:
            ray_options(request.section, request.resources)
        except UserError as error:
            yield Finding(str(error), fatal=True)


def _agent_findings(recipe: Recipe, phases: Collection[str]) -> Iterator[Finding]:
    """Problems with agents and models. Prompts are only built if all agents can act."""
    findings = [Finding(error, fatal=True) for error in agent_errors(recipe, phases)]
    yield from findings
    yield from _model_findings(recipe, phases, prompts=not findings and bool({"rollout", "evaluate"} & set(phases)))


def _model_findings(recipe: Recipe, phases: Collection[str], *, prompts: bool) -> Iterator[Finding]:
    """Missing models, vocabularies that differ or exceed a model's rows, and prompts that cannot be built."""
    try:
        yield from (Finding(note) for note in check_models(recipe, phases))
    except UserError as error:
        yield Finding(str(error), fatal=True)
        return
    used = used_sections(recipe, phases)
    for setting, model in model_settings(recipe):
        if setting.endswith(".model") and setting.partition(".")[0] in used:
            yield from row_findings(setting, model)
    yield from _vocabulary_findings(recipe) if "train" in phases else ()
    for section, role in _roles(recipe) if prompts else ():
        if section in used:
            yield from _prompt_findings(recipe, section, role)


def _vocabulary_findings(recipe: Recipe) -> Iterator[Finding]:
    """Vocabularies that differ between known hub models; `check_models` compares those of model folders."""
    learner = recipe.learner
    named = {
        setting.partition(".")[0]: KNOWN_SHAPES[model]
        for setting, model in model_settings(recipe)
        if model in KNOWN_SHAPES and setting != EXACT_TEACHER
    }
    teacher, student = named.get("teacher"), named.get("learner") or named.get("student")
    if learner is None or learner.teacher_tokenizer or not teacher or not student:
        return
    if teacher.tokenizer != student.tokenizer:
        yield Finding(
            f"{teacher.name} (teacher) and {student.name} (student) have different vocabularies; choose models of "
            "one family",
            fatal=True,
        )


def _prompt_findings(recipe: Recipe, section: str, role: RoleConfig) -> Iterator[Finding]:
    """Prompts that cannot be built, for tokenizers in local folders."""
    from rollout.factory import make_builder
    from rollout.models import model_folder

    name = getattr(role.engine, "tokenizer", None) or getattr(role.engine, "model", None)
    if not isinstance(name, str) or not Path(model_folder(name)).is_dir():
        return
    for part in parts_of(recipe.environment):
        try:
            make_builder(recipe.agent, part.environment, role.engine, with_search=recipe.retrieval is not None)
        except UserError as error:
            yield Finding(f"{section}: {error}", fatal=True)
