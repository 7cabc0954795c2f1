"""What a recipe will do and what it needs, worked out without a GPU, a cluster or a download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.config.environments import parts_of
from cluster.config.recipe import Recipe, RoleConfig
from cluster.dry_run.engine import assess_engine
from cluster.dry_run.findings import Assessed, Finding, MemoryUse
from cluster.dry_run.learner import assess_learner
from cluster.dry_run.model_shapes import KNOWN
from cluster.dry_run.tasks import Data, TaskCounter, files_of
from cluster.run.directory import RunDirectory
from cluster.run.plan import Plan, make_plan
from cluster.run.playable import unplayable
from cluster.run.tasks import TaskLists
from cluster.run.weights import check_models, models
from cluster.runtime.resources import ResourceGroup, ray_options, resource_groups
from rollout.errors import UserError

DEFAULT_GPU_GIB = 80.0


@dataclass(frozen=True, slots=True)
class Row:
    """Something that a run does. ``episodes`` and ``tokens`` are upper bounds; 0 where nothing is counted."""

    title: str
    episodes: int = 0
    tokens: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The plan of a run, and what was found wrong with it. ``gpu_gib`` is the assumed size of a GPU."""

    recipe: Recipe
    gpu_gib: float
    data: tuple[Data, ...]
    rows: tuple[Row, ...]
    groups: tuple[ResourceGroup, ...]
    memory: tuple[MemoryUse, ...]
    all_estimated: bool
    """Whether ``memory`` has every engine and learner that holds a model."""
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """Whether nothing was found that keeps the recipe from running; data that is not here yet does not."""
        return not any(finding.fatal for finding in self.findings)


def dry_run(recipe: Recipe, gpu_gib: float = DEFAULT_GPU_GIB) -> DryRun:
    """Work out what a recipe does and needs, for GPUs of ``gpu_gib`` each. Nothing is read of any run directory."""
    tasks = TaskCounter()
    plan = make_plan(recipe, RunDirectory(Path("RUN_DIR")), TaskLists(recipe, tasks.draw))
    groups = resource_groups(plan, recipe)
    data = (*tasks.data, *files_of(recipe))
    assessed = list(_assess(recipe, gpu_gib))
    findings = [
        *(entry.finding for entry in data if entry.finding),
        *_resource_findings(groups),
        *_agent_findings(recipe),
        *(finding for part in assessed for finding in part.findings),
    ]
    return DryRun(
        recipe,
        gpu_gib,
        data,
        tuple(rows(plan, recipe)),
        tuple(groups),
        tuple(part.use for part in assessed if part.use),
        all(part.use for part in assessed),
        tuple(dict.fromkeys(findings)),
    )


def rows(plan: Plan, recipe: Recipe) -> Iterator[Row]:
    """What a run does, in the order of its plan."""
    if recipe.retrieval is not None:
        yield Row("retrieval starts", note=f"index of {recipe.retrieval.corpus}, built if it is missing")
    yield Row("engines start", note="teacher and student" if recipe.student_has_start else "teacher")
    for step in plan.steps:
        yield Row(step.title, step.cost.episodes, step.cost.tokens, step.cost.note)
    yield Row("report")


def _assess(recipe: Recipe, gpu_gib: float) -> Iterator[Assessed]:
    for who, role in _roles(recipe):
        assessed = assess_engine(recipe, who, role, gpu_gib)
        yield from [assessed] if assessed else []
    if recipe.learner is not None:
        yield assess_learner(recipe, recipe.learner, gpu_gib)


def _roles(recipe: Recipe) -> Iterator[tuple[str, RoleConfig]]:
    yield "teacher", recipe.teacher
    if recipe.student is not None:
        yield "student", recipe.student


def _resource_findings(groups: Sequence[ResourceGroup]) -> Iterator[Finding]:
    for request in (request for group in groups for request in group.requests):
        try:
            ray_options(request.who, request.resources)
        except UserError as error:
            yield Finding(str(error), fatal=True)


def _agent_findings(recipe: Recipe) -> Iterator[Finding]:
    """Agents that cannot play, and what is wrong with the models; a prompt is built for agents that can play only."""
    findings = [Finding(mistake, fatal=True) for mistake in unplayable(recipe)]
    yield from findings
    yield from _model_findings(recipe, prompts=not findings)


def _model_findings(recipe: Recipe, *, prompts: bool) -> Iterator[Finding]:
    """Models that are not there, vocabularies that differ, prompts that cannot be built."""
    try:
        check_models(recipe)
    except UserError as error:
        yield Finding(str(error), fatal=True)
        return
    yield from _vocabulary_findings(recipe)
    for who, role in _roles(recipe) if prompts else ():
        yield from _prompt_findings(recipe, who, role)


def _vocabulary_findings(recipe: Recipe) -> Iterator[Finding]:
    """Of models that are known by name; `check_models` looks at those in folders."""
    learner = recipe.learner
    named = {setting.partition(".")[0]: KNOWN[model] for setting, model in models(recipe) if model in KNOWN}
    teacher, student = named.get("teacher"), named.get("learner") or named.get("student")
    if learner is None or learner.teacher_tokenizer or not teacher or not student:
        return
    if teacher.tokenizer != student.tokenizer:
        yield Finding(
            f"{teacher.name} (teacher) and {student.name} (student) number their tokens differently; choose models of "
            "one family",
            fatal=True,
        )


def _prompt_findings(recipe: Recipe, who: str, role: RoleConfig) -> Iterator[Finding]:
    """Whether prompts can be built, where the tokenizer lies in a folder."""
    from rollout.factory import make_builder
    from rollout.models import model_folder

    name = getattr(role.engine, "tokenizer", None) or getattr(role.engine, "model", None)
    if not isinstance(name, str) or not Path(model_folder(name)).is_dir():
        return
    for part in parts_of(recipe.environment):
        try:
            make_builder(recipe.agent, part.environment, role.engine, with_search=recipe.retrieval is not None)
        except UserError as error:
            yield Finding(f"{who}: {error}", fatal=True)
