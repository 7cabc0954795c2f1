"""The plan as it is kept in the run directory, so that status and report need neither the recipe nor its plug-ins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.config.load import load_recipe
from cluster.run.directory import RunDirectory
from cluster.run.failed_episodes import FailedEpisode, FailedEpisodes, owed_in
from cluster.run.plan import Plan, make_plan
from cluster.run.steps.step import EpisodeStep, Step
from cluster.run.stored import Places, StepKeys
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write_text
from rollout.trajectory import Key, Trajectory
from rollout.trajectory.arrow import SUMMARY_COLUMNS, from_table, key_table
from rollout.trajectory.store import TrajectoryStore

VERSION = 2


@dataclass(frozen=True, slots=True)
class StepEpisodes:
    """The episodes of a step that have ended.

    Attributes:
        tables: reads columns of the completed ones, each once (`StepKeys.tables`).
        failed: the others.
        given_up: keys of those that are not tried again.
    """

    tables: Callable[[Sequence[str]], Iterator[tuple[Places, pa.Table]]]
    failed: Mapping[Key, FailedEpisode]
    given_up: frozenset[Key]

    def summaries(self) -> Iterator[Trajectory]:
        """Summaries of all."""
        for _, table in self.tables(SUMMARY_COLUMNS):
            yield from from_table(table)
        yield from (episode.summary() for episode in self.failed.values())


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What status and report need of a step.

    Attributes:
        kind: of an episode step, else ``train``, ``sync_weights`` or what the step's class is called.
        output: path within the run directory, or a name in an engine.
        role: part of its episodes' keys: a role or an agent; "" without episodes.
        round: part of its episodes' keys.
        tasks: ids of the tasks of its episodes.
        attempts: number of episodes of each task.
        source: name of the step whose episodes these are made from.
    """

    name: str
    title: str
    phase: str
    kind: str
    output: str
    role: str = ""
    round: int = 0
    tasks: tuple[str, ...] = ()
    attempts: int = 1
    source: str = ""

    @property
    def keys(self) -> StepKeys:
        """The keys of its episodes."""
        return StepKeys(self.role, self.round, self.tasks, self.attempts)

    def episodes(self, directory: RunDirectory) -> StepEpisodes:
        """This step's episodes that have ended; those of other weights or plans are left out.

        Those that failed are named by the files of `FailedEpisodes`, and by stores of older versions.
        """
        store = directory.path / self.output
        owed, tombstones = owed_in(TrajectoryStore(store, read_only=True)), dict[Key, FailedEpisode]()
        for episode, is_given_up in FailedEpisodes(directory.path, self.name, self.source).all():
            (tombstones if is_given_up else owed)[episode.identity.key] = episode
        keys = sorted(owed.keys() | tombstones.keys())
        places = self.keys.places(key_table(keys))
        stored = self.keys.stored(store) if keys else np.zeros(0, np.bool_)
        failed = {
            key: tombstones.get(key) or owed[key]
            for key, place in zip(keys, places, strict=True)
            if place >= 0 and not stored[place]
        }
        return StepEpisodes(partial(self.keys.tables, store), failed, frozenset(failed.keys() & tombstones.keys()))


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
    requests, spec = step.requests, step.spec
    return StepRecord(
        name=step.name,
        title=step.title,
        phase=step.phase,
        kind=step.kind,
        output=step.output,
        role=spec.role,
        round=spec.round,
        tasks=tuple(task.id for task in requests.tasks),
        attempts=requests.attempts,
        source=step.source,
    )


def write_plan(plan: Plan, directory: RunDirectory) -> None:
    """Write plan.json. Lists of tasks that several steps share are written once."""
    lists: dict[tuple[str, ...], int] = {}
    steps = []
    for step in record_of(plan).steps:
        number = lists.setdefault(step.tasks, len(lists))
        steps.append({**asdict(step), "tasks": number})
    content = {"version": VERSION, "recipe": plan.name, "steps": steps, "tasks": list(lists)}
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
    if content["version"] not in (1, VERSION):
        raise ValueError(f"it has version {content['version']}, and this version of Stillhouse reads {VERSION}")
    read = _parse_keys if content["version"] == 1 else _parse_tasks
    steps = tuple(StepRecord(**step) for step in read(content))
    for step in steps:
        if PurePosixPath(step.output).is_absolute() or ".." in PurePosixPath(step.output).parts:
            raise ValueError(f"{step.output} is outside the run directory")
    return PlanRecord(str(content["recipe"]), steps)


def _parse_tasks(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = [tuple(map(str, tasks)) for tasks in content["tasks"]]
    return ({**step, "tasks": lists[step["tasks"]]} for step in content["steps"])


def _parse_keys(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps of version 1, which had a list of (task, attempt) for each step: all tasks, then all again, ..."""
    for step in content["steps"]:
        keys = content["keys"][step["keys"]]
        attempts = 1 + max((int(attempt) for _, attempt in keys), default=0)
        tasks = tuple(str(task) for task, _ in keys[: len(keys) // attempts])
        rest = {name: value for name, value in step.items() if name != "keys"}
        yield {**rest, "tasks": tasks, "attempts": attempts}
