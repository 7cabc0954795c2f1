"""The interface of environments: a `TaskSource` provides tasks, an `Environment` runs one task at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from rollout.errors import UserError
from rollout.grammar import Choice

T = TypeVar("T")

Payload = Mapping[str, str | int | float | bool | None]
"""Data from which an environment creates a task's initial state; JSON types only."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task, small enough to be sent between processes.

    Attributes:
        id: unique within a run, readable, stable between processes (``household/train/small/17``).
        environment: the name under which the environment is registered.
        split: ``train``, ``valid_seen``, ``valid_unseen``, or a name of the data set.
        task_type: type within the environment (``pick_heat_then_place_in_recep``), for metrics per type.
        payload: data from which the environment creates the initial state; JSON types only.
    """

    id: str
    environment: str
    split: str
    task_type: str
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reset:
    """The start of an episode. ``instruction`` is the task in words, ``observation`` is the first observation."""

    observation: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one action.

    Attributes:
        observation: text shown to the agent.
        reward: reward of this step; an episode's reward is the sum over its steps.
        done: whether the episode has ended.
        success: whether the task is solved; true only together with ``done``.
        valid: whether the environment understands the action and allows it in its current state.
        dialect: dialect of the action, if the environment accepts several; else empty.
        scores: further scores of the episode by name (``f1``). Later steps override earlier values.
        answer: the answer that the agent submitted with this step, if any. The observation may reveal its correctness.
    """

    observation: str
    reward: float = 0.0
    done: bool = False
    success: bool = False
    valid: bool = True
    dialect: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    answer: str | None = None


@runtime_checkable
class Environment(Protocol):
    """Runs one task at a time; not thread-safe. ``step`` must accept any text.

    `OptionalAbilities` lists what an environment may offer in addition.
    """

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` with a clear sentence if the task's data is missing or damaged."""

    def step(self, action: str) -> Step:
        """Execute one action."""

    def admissible_actions(self) -> Sequence[str] | None:
        """All actions that are currently allowed, sorted; None if the environment cannot list them."""

    def close(self) -> None:
        """Release processes and files."""


class OptionalAbilities(Protocol):
    """Optional members of an environment, independent of each other. A member that is missing or None is not offered.

    This is the only list of them. `rollout.environments.wrappers.base.EnvironmentWrapper` forwards all members listed
    here, so that a wrapper offers the abilities of its environment. The functions below access them.
    """

    @property
    def blocking(self) -> bool:
        """Whether calls may block, so that callers with an event loop must run them in a thread."""

    @property
    def action_templates(self) -> Sequence[str]:
        """Templates of all actions, with at most one ``{}`` for free text, at the end or before a closing bracket
        (``search[{}]``).
        """

    def open_actions(self) -> Sequence[str]:
        """Templates of currently allowed actions that ``admissible_actions`` cannot list."""

    def fork(self) -> Environment:
        """Return an independent copy in the current state; both can be used concurrently in different threads."""

    def passages(self, k: int) -> Sequence[str]:
        """Retrieve the ``k`` passages of the environment's corpus that match the current task best, one line each."""


ABILITIES = tuple(name for name in vars(OptionalAbilities) if not name.startswith("_"))
"""Names of the optional abilities."""


def is_blocking(environment: Environment) -> bool:
    """Whether calls of the environment must run in a thread."""
    return bool(getattr(environment, "blocking", False))


def action_templates(environment: Environment) -> tuple[str, ...]:
    """Templates of all actions of the environment; empty if it has none."""
    return tuple(getattr(environment, "action_templates", None) or ())


def open_actions(environment: Environment) -> tuple[str, ...]:
    """Templates of currently allowed actions that cannot be listed; empty if there are none."""
    function = getattr(environment, "open_actions", None)
    return () if function is None else tuple(function())


def legal_actions(environment: Environment) -> Choice | None:
    """All currently allowed actions; None if the environment does not list them."""
    listed, templates = environment.admissible_actions(), open_actions(environment)
    return None if listed is None and not templates else Choice(tuple(dict.fromkeys(listed or ())), templates)


def has_passages(environment: Environment) -> bool:
    """Whether the environment has a corpus."""
    return getattr(environment, "passages", None) is not None


def passages_of(environment: Environment, k: int) -> Sequence[str]:
    """Retrieve the ``k`` passages of the environment's corpus that match the current task best (see `has_passages`)."""
    passages: Sequence[str] = getattr(environment, "passages")(k)  # noqa: B009 (not in the protocol)
    return passages


def started(episode: T | None) -> T:
    """The state of an episode. Raises `RuntimeError` if there is none, because no reset came before."""
    if episode is None:
        raise RuntimeError("reset must come before the first step")
    return episode


def fork_of(environment: Environment) -> Environment:
    """Copy an environment. Raises `UserError` if it does not support copying."""
    fork = getattr(environment, "fork", None)
    if fork is None:
        raise UserError(
            f"agent.acting is self_consistent, but {class_name(environment)} cannot be copied to try actions; "
            "set agent.acting to plain, or use another environment"
        )
    copy: Environment = fork()
    return copy


def class_name(environment: Environment) -> str:
    """Name of the environment's class without its wrappers, for messages."""
    inner = getattr(environment, "inner", None)  # where a wrapper keeps it
    return class_name(inner) if isinstance(inner, Environment) else type(environment).__name__


class TaskSource(Protocol):
    """Provides tasks from a generator or a data set. The same arguments give the same tasks in every process."""

    def splits(self) -> Sequence[str]:
        """Names of the splits."""

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Return the first ``count`` tasks of ``split`` in the order determined by ``seed``."""


@runtime_checkable
class HasSplit(Protocol):
    """A task source that knows its splits by further names."""

    def has_split(self, split: str) -> bool:
        """Whether `TaskSource.tasks` finds a split by this name."""
