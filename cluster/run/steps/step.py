"""What every step of a run is: a frozen record with named inputs and outputs, which can be executed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cluster.config.collect import Role
from cluster.config.recipe import LearnerRole, Recipe
from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest, EpisodeRequests, EpisodeSpec, WorkerJob
from cluster.run.failed_episodes import FailedEpisodes
from cluster.run.stored import mark
from cluster.run.training_data import TrainRequest
from evaluation.failures import count_failures
from rollout.trajectory import Trajectory
from rollout.trajectory.arrow import SUMMARY_COLUMNS, from_table, key_table

Phase = Literal["rollout", "train", "evaluate"]


class StepContext(Protocol):
    """What the driver offers to the steps that it executes."""

    recipe: Recipe
    directory: RunDirectory

    async def roll_out(self, step: EpisodeStep) -> None:
        """Produce the missing episodes of a step on the workers of its role."""

    async def call_worker(self, role: Role, job: WorkerJob) -> Mapping[str, int]:
        """Run a job on one worker of a role."""

    async def sync_weights(self, role: Role, folder: str, version: int) -> None:
        """Have all workers of a role use the checkpoint in ``folder`` as version ``version``."""

    async def train(self, request: TrainRequest) -> None:
        """Train one round."""

    def num_threads(self, learner: LearnerRole) -> int:
        """Torch threads of each training process."""

    def is_needed(self, output: str) -> bool:
        """Whether a step that is still to be executed consumes this output."""

    def timed(self, phase: str) -> AbstractContextManager[None]:
        """Record the wall-clock time of a phase."""

    def show_training(self, round: int) -> AbstractAsyncContextManager[None]:
        """Show the learner's progress until the block ends."""

    def notify(self, *notes: str) -> None:
        """Show sentences to the user, each once."""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """A part of a run.

    Attributes:
        name: unique in its plan: ``collect/teacher/0``, ``train/0``, ``evaluate/student``.
        title: what it does, for people.
        phase: the phase of the command line that it belongs to.
        inputs: names of the outputs of other steps that it consumes.
        output: what it produces: a path within the run directory, or ``weights/ROLE/VERSION`` in an engine.
        after: names of steps that must have ended before it starts, though it consumes nothing of theirs.
    """

    name: str
    title: str
    phase: Phase
    inputs: tuple[str, ...] = ()
    output: str
    after: tuple[str, ...] = ()

    @property
    def role(self) -> Role | None:
        """The role whose workers it needs; None if it needs none."""
        return None

    @property
    def pending(self) -> str:
        """Says that the step has not been done, for a step that needs its output."""
        return f"{self.title} is not done yet"

    @abstractmethod
    def is_complete(self, context: StepContext) -> bool:
        """Whether nothing is left to do."""

    @abstractmethod
    async def execute(self, context: StepContext) -> None:
        """Produce what is missing of the output."""

    def defect(self, context: StepContext) -> str:
        """Why the output cannot be used although the step was executed or is complete, in one sentence; else empty."""
        return ""

    def refuse(self, context: StepContext, reason: str) -> None:
        """React to an input that this start of the run does not produce: say so, or raise `UserError`."""
        context.notify(f"{reason}, so this is skipped: {self.title}")

    @property
    def cost(self) -> Cost:
        """Upper bounds on what it takes."""
        return Cost()


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds of a step's episodes and tokens; 0 where nothing is counted. ``note`` is for people."""

    episodes: int = 0
    tokens: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class EpisodeStep(Step):
    """A step whose output is a store of episodes.

    Attributes:
        kind: groups steps: ``prepare``, ``collect``, ``score`` or ``evaluate``.
        acts_as: whose workers produce the episodes.
        weight_version: version of the weights that it needs, as rounds of training so far; a teacher's is always 0.
        requests: all its episodes, in the order in which they are requested.
        source: name of the step whose episodes these are made from; empty if they are made from none.
    """

    kind: Literal["prepare", "collect", "score", "evaluate"]
    acts_as: Role
    weight_version: int
    spec: EpisodeSpec
    requests: EpisodeRequests
    source: str = ""
    note: str = ""

    @property
    def role(self) -> Role:
        return self.acts_as

    @property
    def store(self) -> str:
        return self.spec.store

    def failed(self, run: RunDirectory) -> FailedEpisodes:
        """Its failed episodes."""
        return FailedEpisodes(run.path, self.name, self.source)

    def missing(self, run: RunDirectory) -> list[EpisodeRequest]:
        """Requests whose episode is neither in the store nor given up."""
        return [self.requests[place] for place in np.flatnonzero(~self._ended(run))]

    def num_missing(self, run: RunDirectory) -> int:
        """Number of requests whose episode is neither in the store nor given up."""
        return int(np.count_nonzero(~self._ended(run)))

    def _ended(self, run: RunDirectory) -> NDArray[np.bool_]:
        """For each request, whether its episode is in the store or given up."""
        keys = self.requests.keys
        ended = keys.stored(self.store)
        mark(ended, keys.places(key_table(self.failed(run).tombstones())))
        return ended

    def summaries(self) -> Iterator[Trajectory]:
        """The episodes of this step in its store, without segments."""
        tables = self.requests.keys.tables(self.store, SUMMARY_COLUMNS)
        return (summary for _, table in tables for summary in from_table(table))

    def is_complete(self, context: StepContext) -> bool:
        return not self.num_missing(context.directory)

    async def execute(self, context: StepContext) -> None:
        await context.roll_out(self)

    def defect(self, context: StepContext) -> str:
        """Says that episodes are owed, or that more are given up than ``failures.max_failed_share`` allows."""
        failed, total = self.failed(context.directory), len(self.requests)
        missing, tombstones = self.num_missing(context.directory), failed.tombstones()
        limit = context.recipe.failures.max_failed_share
        if not missing and len(tombstones) <= limit * total:
            return ""
        failures = count_failures(episode.failure for episode, _ in failed.all())
        why = f" ({failures})" if failures.total else ""
        text = f"{self.title}: {missing + len(tombstones)} of {total} episodes were not completed{why}."
        if missing:
            return f"{text} They are in no rate, and the same command tries them again."
        return (
            f"{text} They are given up, and more than failures.max_failed_share ({limit:g}) of the step: delete "
            f"{failed.tombstone_file} to try them again, or raise failures.max_failed_share to go on without them."
        )

    @property
    def cost(self) -> Cost:
        return Cost(len(self.requests), len(self.requests) * self.spec.max_tokens, self.note)
