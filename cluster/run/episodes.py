"""Episodes to roll out: what the episodes of a step share, and the request of one. Frozen records go to workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from pydantic import BaseModel

from cluster.run.stored import StepKeys
from rollout.engine import Engine
from rollout.environment import Environment, Task
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.guidance import Guide
from rollout.hints.config import HintConfig
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Identity, Key, Trajectory


@dataclass(frozen=True, slots=True)
class HintContext:
    """Hints that episodes are shown.

    Attributes:
        bank: file of the hint bank.
        share: fraction of the tasks that get hints.
    """

    bank: str
    config: HintConfig
    share: float = 1.0


class WorkerContext(Protocol):
    """What a worker gives to the episodes that it runs."""

    engine: Engine
    engine_config: BaseModel
    episode_policy: EpisodePolicy

    def environment(self, name: str) -> Environment:
        """A ready environment; closing it returns it to the worker's pool."""

    def fresh_environment(self, name: str) -> Environment:
        """An environment in which no episode ran before."""

    def builder(self, environment: str, agent: AgentConfig) -> PromptBuilder:
        """The prompt builder of an agent in an environment."""

    async def guide(self, spec: EpisodeSpec) -> Guide | None:
        """Chooses hints and first thoughts for the episodes of ``spec``; None if they get none."""

    async def read(self, store: str, key: Key) -> Trajectory:
        """A finished episode. Raises `KeyError` if the store does not have it."""


@dataclass(frozen=True, slots=True)
class EpisodeSpec(ABC):
    """What all episodes of one step share. A subclass says how an episode is produced.

    Attributes:
        run_name: the recipe's name.
        role: part of the key: a role, or the name under which the episodes are kept (``teacher``, ``failures``).
        store: URI of the store that keeps the episodes.
        hints: hints that are shown, or read before scoring.
        first_thoughts: store of episodes whose first thoughts begin these.
        max_delay_s: an episode that ended is stored and reported after this time at the latest.
    """

    run_name: str
    role: str
    round: int
    store: str
    agent: AgentConfig
    hints: HintContext | None = None
    first_thoughts: str | None = None
    max_delay_s: float = 5.0

    @abstractmethod
    async def run(self, request: EpisodeRequest, context: WorkerContext) -> Trajectory:
        """Produce the episode of ``request``."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Upper bound on the tokens of one episode."""


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """One episode to produce; small enough to be sent anywhere.

    ``attempt`` is part of the key: a recipe may ask for a task several times. ``retries`` counts the failures that this
    episode has ended by before.
    """

    spec: EpisodeSpec
    task: Task
    attempt: int
    retries: int = 0

    @property
    def key(self) -> Key:
        return Key(self.spec.role, self.spec.round, self.task.id, self.attempt)

    @property
    def identity(self) -> Identity:
        spec, task = self.spec, self.task
        return Identity(
            spec.run_name, spec.role, spec.round, task.id, self.attempt, task.environment, task.split, task.task_type
        )


class Requests(Protocol):
    """Episodes to produce; each is made when it is asked for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[EpisodeRequest]: ...


@dataclass(frozen=True)
class EpisodeRequests(Sequence[EpisodeRequest]):
    """All tasks once, then all tasks again, ..., so that a run that is cut short has seen many tasks.

    Requests are made when they are asked for, so that the driver's memory does not grow with their number.
    """

    spec: EpisodeSpec
    tasks: Sequence[Task]
    attempts: int = 1

    def __len__(self) -> int:
        return len(self.tasks) * self.attempts

    @overload
    def __getitem__(self, place: int) -> EpisodeRequest: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[EpisodeRequest, ...]: ...

    def __getitem__(self, place: int | slice) -> EpisodeRequest | tuple[EpisodeRequest, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        attempt, number = divmod(range(len(self))[place], len(self.tasks))
        return EpisodeRequest(self.spec, self.tasks[number], attempt)

    def __iter__(self) -> Iterator[EpisodeRequest]:
        return (EpisodeRequest(self.spec, task, attempt) for attempt in range(self.attempts) for task in self.tasks)

    @property
    def keys(self) -> StepKeys:
        """The keys of all requests."""
        return StepKeys(self.spec.role, self.spec.round, [task.id for task in self.tasks], self.attempts)


@dataclass(frozen=True, slots=True)
class RolloutUpdate:
    """What has happened on a worker since the last update.

    Attributes:
        ended: keys of episodes that ended and are not stored yet. They no longer take a place on the worker.
        summaries: episodes that are stored now, and those that are owed and not stored (``segments=()``).
    """

    ended: tuple[Key, ...] = ()
    summaries: tuple[Trajectory, ...] = ()


class WorkerJob(Protocol):
    """Work of a worker that is not an episode; a frozen record."""

    async def run(self, context: WorkerContext) -> Mapping[str, int]:
        """Do the work; returns what to report of it."""
