"""The plan as it is kept in the run directory, so that status and report need neither the recipe nor its plug-ins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cluster.config.load import load_recipe
from cluster.run.directory import RunDirectory
from cluster.run.failed_episodes import FailedEpisode, FailedEpisodes, owed_in
from cluster.run.plan import Plan, make_plan
from cluster.run.steps.step import EpisodeStep, Step
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write_text
from rollout.trajectory import Key, Trajectory
from rollout.trajectory.store import TrajectoryStore

VERSION = 1


@dataclass(frozen=True, slots=True)
class StepEpisodes:
    """The episodes of a step that have ended.

    Attributes:
        completed: summaries of the stored ones.
        failed: the others.
        given_up: keys of those that are not tried again.
    """

    completed: Sequence[Trajectory] = ()
    failed: Mapping[Key, FailedEpisode] = field(default_factory=dict)
    given_up: frozenset[Key] = frozenset()

    def summaries(self) -> list[Trajectory]:
        """Summaries of all."""
        return [*self.completed, *(episode.summary() for episode in self.failed.values())]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What status and report need of a step.

    Attributes:
        kind: of an episode step, else ``train``, ``sync_weights`` or what the step's class is called.
        output: path within the run directory, or a name in an engine.
        role: part of its episodes' keys: a role or an agent; "" without episodes.
        round: part of its episodes' keys.
        keys: (task id, attempt) of all its episodes.
        source: name of the step whose episodes these are made from.
    """

    name: str
    title: str
    phase: str
    kind: str
    output: str
    role: str = ""
    round: int = 0
    keys: tuple[tuple[str, int], ...] = ()
    source: str = ""

    def episodes(self, directory: RunDirectory) -> StepEpisodes:
        """This step's episodes that have ended; those of other weights or plans are left out.

        Those that failed are named by the files of `FailedEpisodes`, and by stores of older versions.
        """
        if not self.keys:
            return StepEpisodes()
        wanted = {Key(self.role, self.round, task, attempt) for task, attempt in self.keys}
        store = TrajectoryStore(directory.path / self.output, read_only=True)
        completed = [summary for summary in store.summaries() if summary.key in wanted]
        owed = owed_in(store)
        tombstones: dict[Key, FailedEpisode] = {}
        for episode, is_given_up in FailedEpisodes(directory.path, self.name, self.source).all():
            (tombstones if is_given_up else owed)[episode.identity.key] = episode
        failed_keys = (wanted & (owed.keys() | tombstones.keys())) - {summary.key for summary in completed}
        failed = {key: tombstones.get(key) or owed[key] for key in sorted(failed_keys)}
        return StepEpisodes(completed, failed, frozenset(failed.keys() & tombstones.keys()))


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """What is kept of a plan; ``recipe`` is the recipe's name."""

    recipe: str
    steps: tuple[StepRecord, ...]

    def of_kind(self, kind: str) -> list[StepRecord]:
        """Steps of a kind."""
        return [step for step in self.steps if step.kind == kind]


def record_of(plan: Plan) -> PlanRecord:
    """What is kept of a plan."""
    return PlanRecord(plan.name, tuple(_record_step(step) for step in plan.steps))


def _record_step(step: Step) -> StepRecord:
    if not isinstance(step, EpisodeStep):
        return StepRecord(step.name, step.title, step.phase, step.name.partition("/")[0], step.output)
    keys = tuple((request.task.id, request.attempt) for request in step.requests)
    role, round = step.spec.role, step.spec.round
    return StepRecord(step.name, step.title, step.phase, step.kind, step.output, role, round, keys, step.source)


def write_plan(plan: Plan, directory: RunDirectory) -> None:
    """Write plan.json. Lists of tasks that several steps share are written once."""
    lists: dict[tuple[tuple[str, int], ...], int] = {}
    steps = []
    for step in record_of(plan).steps:
        number = lists.setdefault(step.keys, len(lists))
        steps.append({**asdict(step), "keys": number})
    content = {"version": VERSION, "recipe": plan.name, "steps": steps, "keys": list(lists)}
    atomic_write_text(directory.plan_file, json.dumps(content, separators=(",", ":")) + "\n")


def read_plan(directory: RunDirectory) -> PlanRecord:
    """The plan of a run. It is made from the recipe where a run directory of an older version has no plan.json.

    Raises:
        UserError: plan.json is damaged or was written by a newer version; or there is none, and the recipe cannot be
            read.
    """
    if not directory.plan_file.is_file():
        return record_of(make_plan(load_recipe(str(directory.recipe_file)), directory))
    try:
        content = json.loads(directory.plan_file.read_text(encoding="utf-8"))
        return _parse(content)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{directory.plan_file} cannot be read ({error}); delete it, and `stillhouse run` writes it again."
        ) from error


def _parse(content: Mapping[str, Any]) -> PlanRecord:
    if content["version"] != VERSION:
        raise ValueError(f"it has version {content['version']}, and this version of Stillhouse reads {VERSION}")
    lists: Sequence[tuple[tuple[str, int], ...]] = [
        tuple((str(task), int(attempt)) for task, attempt in keys) for keys in content["keys"]
    ]
    steps = tuple(StepRecord(**{**step, "keys": lists[step["keys"]]}) for step in content["steps"])
    for step in steps:
        if PurePosixPath(step.output).is_absolute() or ".." in PurePosixPath(step.output).parts:
            raise ValueError(f"{step.output} is outside the run directory")
    return PlanRecord(str(content["recipe"]), steps)
