"""The runs of a study: their recipes, their order, and whether they are finished. Reads run folders but writes none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config.load import apply_override, check_recipe, find_recipe, refuse_unknown
from cluster.config.recipe import Agent, Recipe
from cluster.config.settings import parse_override, read_settings
from cluster.run.directory import RunDirectory, check_same_recipe
from cluster.run.plan import make_plan
from cluster.study.config import Arm, SharedRun, Study
from rollout.errors import UserError

SHARED_PHASES = frozenset({"rollout"})
ARM_PHASES = frozenset({"rollout", "train", "evaluate"})


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study.

    Attributes:
        name: name of the arm or the shared run.
        variant: "" if the study has no variants, and for a shared run that all variants use.
        agent: the agent whose evaluation counts; None for a shared run.
        depends_on: folders of the shared runs whose episodes or hints this run uses.
    """

    name: str
    variant: str
    seed: int
    recipe: Recipe
    folder: Path
    agent: Agent | None
    depends_on: tuple[Path, ...] = ()

    @property
    def phases(self) -> frozenset[str]:
        return SHARED_PHASES if self.agent is None else ARM_PHASES

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.variant, f"seed {self.seed}", self.name)))


def make_jobs(study: Study, folder: Path) -> list[Job]:
    """All runs of a study in ``folder``, ordered by seed, so that a study that is stopped early has every arm.

    Raises:
        UserError: if the recipe of an arm or a shared run is wrong.
    """
    return [job for seed in study.all_seeds for job in _jobs_of_seed(study, folder, seed)]


def _jobs_of_seed(study: Study, folder: Path, seed: int) -> Iterator[Job]:
    jobs: dict[str, Job] = {}
    for variant in study.selected_variants:
        arms = study.selected_arms(variant)
        required = _required_shared_runs(study, arms)
        for name, run in study.shared.items():
            if name in required and (run.per_variant or name not in jobs):
                jobs[name] = _job(study, name, run, folder, jobs, variant if run.per_variant else "", seed)
                yield jobs[name]
        yield from (_job(study, name, study.arms[name], folder, jobs, variant, seed) for name in arms)


def _required_shared_runs(study: Study, arms: Sequence[str]) -> set[str]:
    """Names of the shared runs that these arms depend on, directly or through another shared run."""
    required = {name for arm in arms for name in (*study.arms[arm].trains_on, study.arms[arm].hints_from) if name}
    for name, run in reversed(study.shared.items()):
        if name in required and run.hints_from:
            required.add(run.hints_from)
    return required


def _job(
    study: Study, name: str, run: SharedRun | Arm, folder: Path, jobs: Mapping[str, Job], variant: str, seed: int
) -> Job:
    """The run of an arm or of a shared run; ``jobs`` are the shared runs before it."""
    settings = _settings(study, name, run, variant)
    hints = [jobs[run.hints_from]] if run.hints_from else []
    sources = [jobs[source] for source in run.trains_on] if isinstance(run, Arm) else []
    final = _arm_overrides(study, run, settings, seed) if isinstance(run, Arm) else ["learner=null", "evaluate=null"]
    for job in hints:
        final += [f"hints.bank={json.dumps(str(RunDirectory(job.folder).hint_bank))}", "hints.failures_episodes=0"]
    if sources:
        stores = [store for source in sources for store in training_stores(source)]
        final += [f"collect.also={json.dumps(stores)}", "collect.teacher_episodes=0"]
    return Job(
        name,
        variant,
        seed,
        _recipe(study, name, settings, seed, final),
        (folder / variant if variant else folder) / f"seed={seed}" / name,
        run.agent if isinstance(run, Arm) else None,
        tuple(dict.fromkeys(job.folder for job in (*sources, *hints))),
    )


def _arm_overrides(study: Study, arm: Arm, settings: Mapping[str, Any], seed: int) -> list[str]:
    """Settings of an arm that the study decides: what is evaluated, and no training data if nothing is trained."""
    final = [f"evaluate.agents=[{arm.agent}]", f"evaluate.episodes={study.episodes}"]
    if settings.get("learner") is not None:
        final.append(f"learner.seed={seed}")
    elif not arm.trains_on:
        final += ["collect.teacher_episodes=0", "collect.student_episodes=0"]
    return final


def _settings(study: Study, name: str, run: SharedRun | Arm, variant: str) -> dict[str, Any]:
    """Settings of one run: its recipe with the overrides of the study, the variant, the run and the command line.

    Later overrides take precedence.
    """
    try:
        settings = read_settings(find_recipe(run.recipe or study.recipe))
        for override in (*study.overrides, *(study.variants[variant] if variant else ()), *run.overrides):
            apply_override(settings, override)
        for override in study.all:
            if _has_section(settings, override):
                apply_override(settings, override)
    except UserError as error:
        raise UserError(f"study {study.name}, {name}: {error}") from error
    return settings


def _has_section(settings: Mapping[str, Any], override: str) -> bool:
    """Whether the settings have the section that ``override`` changes; a section that is null does not count."""
    key, _ = parse_override(override)
    refuse_unknown(key.split("."))
    section, is_inside, _ = key.partition(".")
    return settings.get(section) is not None or not (is_inside or section in settings)


def _recipe(study: Study, name: str, settings: dict[str, Any], seed: int, final: Sequence[str]) -> Recipe:
    """The validated recipe of one run, with the settings that the study decides (``final``) applied last."""
    for override in (f"name={study.name}-{name}", f"seed={seed}", *final):
        apply_override(settings, override)
    try:
        return check_recipe(settings, f"of {name}")
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from error


def training_stores(job: Job) -> list[str]:
    """Stores of a shared run to train on; the scored ones if the teacher scored its episodes."""
    recipe, run = job.recipe, RunDirectory(job.folder)
    scored = recipe.score.roles if recipe.score else ()
    return [
        run.trajectories(f"{role}-scored" if role in scored else role, round)
        for round in range(recipe.rounds)
        for role in recipe.collect.train_on
    ]


def is_finished(job: Job) -> bool:
    """Whether all steps of the run are complete, so that it does not have to be started.

    Raises:
        UserError: if its folder belongs to another recipe.
    """
    run = RunDirectory(job.folder)
    if not run.recipe_file.is_file():
        return False
    check_same_recipe(run, job.recipe)
    steps = make_plan(job.recipe, run).episode_steps()
    return (job.folder / "report.json").is_file() and not any(
        s.num_missing(run) for s in steps if s.phase in job.phases
    )
