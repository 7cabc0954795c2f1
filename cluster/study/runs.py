"""Which runs a study is made of, in what order, and which of them are finished. Pure but for looking into folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config.load import apply_override, check_recipe, find_recipe, refuse_unknown
from cluster.config.recipe import Agent, Recipe
from cluster.config.settings import parse_override, read_settings
from cluster.run.directory import RunDirectory, refuse_other_recipe
from cluster.run.plan import make_plan
from cluster.study.config import Arm, SharedRun, Study
from rollout.errors import UserError

SHARED_PHASES = frozenset({"rollout"})
ARM_PHASES = frozenset({"rollout", "train", "evaluate"})


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study.

    Attributes:
        name: of the arm or the shared run.
        variant: "" where the study has none, and for a shared run that serves all of them.
        agent: whose evaluation counts; None for a shared run.
        needs: names of the shared runs that it builds on, by their folders.
    """

    name: str
    variant: str
    seed: int
    recipe: Recipe
    folder: Path
    agent: Agent | None
    needs: tuple[Path, ...] = ()

    @property
    def phases(self) -> frozenset[str]:
        return SHARED_PHASES if self.agent is None else ARM_PHASES

    @property
    def title(self) -> str:
        parts = (self.variant, f"seed {self.seed}", self.name)
        return ", ".join(part for part in parts if part)


def make_jobs(study: Study, folder: Path) -> list[Job]:
    """All runs of a study that is kept in ``folder``: seed by seed, so that one that is stopped early has all arms.

    Raises:
        UserError: the recipe of an arm or a shared run is wrong.
    """
    return [job for seed in study.all_seeds for job in _of_seed(study, folder, seed)]


def _of_seed(study: Study, folder: Path, seed: int) -> Iterator[Job]:
    jobs: dict[str, Job] = {}
    for variant in study.asked_variants:
        arms = study.asked_arms(variant)
        needed = _needed(study, arms)
        for name, run in study.shared.items():
            if name in needed and (run.per_variant or name not in jobs):
                jobs[name] = _shared_job(study, name, run, folder, jobs, variant if run.per_variant else "", seed)
                yield jobs[name]
        for name in arms:
            yield _arm_job(study, name, study.arms[name], folder, jobs, variant, seed)


def _needed(study: Study, arms: Sequence[str]) -> set[str]:
    """Shared runs that these arms build on, and those that these build on."""
    needed = {name for arm in arms for name in (*study.arms[arm].trains_on, study.arms[arm].hints_from) if name}
    for name, run in reversed(study.shared.items()):
        if name in needed and run.hints_from:
            needed.add(run.hints_from)
    return needed


def _place(folder: Path, variant: str, seed: int) -> Path:
    return (folder / variant if variant else folder) / f"seed={seed}"


def _shared_job(
    study: Study, name: str, run: SharedRun, folder: Path, jobs: Mapping[str, Job], variant: str, seed: int
) -> Job:
    settings = _settings(study, name, run, variant)
    hints = jobs[run.hints_from] if run.hints_from else None
    last = ["learner=null", "evaluate=null", *_hints(hints)]
    recipe = _recipe(study, name, settings, seed, last)
    return Job(
        name, variant, seed, recipe, _place(folder, variant, seed) / name, None, (hints.folder,) if hints else ()
    )


def _arm_job(study: Study, name: str, arm: Arm, folder: Path, jobs: Mapping[str, Job], variant: str, seed: int) -> Job:
    settings = _settings(study, name, arm, variant)
    sources = [jobs[source] for source in arm.trains_on]
    hints = jobs[arm.hints_from] if arm.hints_from else None
    last = [f"evaluate.agents=[{arm.agent}]", f"evaluate.episodes={study.episodes}", *_hints(hints)]
    if settings.get("learner") is not None:
        last.append(f"learner.seed={seed}")
    elif not sources:
        last += ["collect.teacher_episodes=0", "collect.student_episodes=0"]
    if sources:
        stores = [store for source in sources for store in stores_of(source)]
        last += [f"collect.also={json.dumps(stores)}", "collect.teacher_episodes=0"]
    recipe = _recipe(study, name, settings, seed, last)
    needs = tuple(dict.fromkeys(job.folder for job in (*sources, *([hints] if hints else []))))
    return Job(name, variant, seed, recipe, _place(folder, variant, seed) / name, arm.agent, needs)


def _settings(study: Study, name: str, run: SharedRun | Arm, variant: str) -> dict[str, Any]:
    """Of one run: the recipe, changed by the study, the variant, the run itself and the command line, in this order."""
    try:
        settings = read_settings(find_recipe(run.recipe or study.recipe))
        for override in (*study.overrides, *(study.variants[variant] if variant else ()), *run.overrides):
            apply_override(settings, override)
        for override in study.all:
            if _has_section_of(settings, override):
                apply_override(settings, override)
    except UserError as error:
        raise UserError(f"study {study.name}, {name}: {error}") from error
    return settings


def _has_section_of(settings: Mapping[str, Any], override: str) -> bool:
    """Whether a run has the section that a setting for all runs belongs to; null means that it is to have none."""
    key, _ = parse_override(override)
    refuse_unknown(key.split("."))
    section, is_inside, _ = key.partition(".")
    return settings.get(section) is not None or not (is_inside or section in settings)


def _recipe(study: Study, name: str, settings: dict[str, Any], seed: int, last: Sequence[str]) -> Recipe:
    """The recipe of one run, with what the study itself decides."""
    for override in (f"name={study.name}-{name}", f"seed={seed}", *last):
        apply_override(settings, override)
    try:
        return check_recipe(settings, f"of {name}")
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from error


def _hints(source: Job | None) -> list[str]:
    if source is None:
        return []
    return [f"hints.bank={json.dumps(str(RunDirectory(source.folder).hint_bank))}", "hints.failures_episodes=0"]


def stores_of(job: Job) -> list[str]:
    """Where the episodes of a shared run are that can be trained on: those that the teacher scored, if it did."""
    recipe, run = job.recipe, RunDirectory(job.folder)
    scored = recipe.score.roles if recipe.score else ()
    return [
        run.trajectories(f"{role}-scored" if role in scored else role, round)
        for round in range(recipe.rounds)
        for role in recipe.collect.train_on
    ]


def is_finished(job: Job) -> bool:
    """Whether nothing of the run is left to do, so that it need not be started.

    Raises:
        UserError: its folder belongs to another recipe.
    """
    run = RunDirectory(job.folder)
    if not run.recipe_file.is_file():
        return False
    refuse_other_recipe(run, job.recipe)
    if not (job.folder / "report.json").is_file():
        return False
    steps = make_plan(job.recipe, run).episode_steps()
    return not any(step.missing() for step in steps if step.phase in job.phases)
