"""The interface of environments: a `TaskSource` provides tasks, an `Environment` runs one task at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from reprlib import repr as short_repr
from typing import Protocol, TypeVar, runtime_checkable

from rollout.errors import SetupError, UserError
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
        """Whether calls may hang, leak or crash, so that workers run the environment in a process of its own
        (`rollout.environments.hosts`). Declared by the class. Environments of other packages always run in one.
        """

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


def checked_reset(environment: Environment, task: Task) -> Reset:
    """Start a task. Raises `SetupError` if the environment returns no valid `Reset`; its own exceptions propagate."""
    start: object = environment.reset(task)
    if isinstance(start, Reset) and is_text(start.observation) and is_text(start.instruction):
        return start
    raise _invalid(environment, "reset", start, "Reset")


def checked_step(environment: Environment, action: str) -> Step:
    """Execute an action. Raises `SetupError` if the environment returns no valid `Step`; see `checked_reset`."""
    step: object = environment.step(action)
    if isinstance(step, Step) and has_valid_types(step) and is_finite(step.reward):
        return step
    raise _invalid(environment, "step", step, "Step")


def checked_actions(environment: Environment) -> Sequence[str] | None:
    """The admissible actions. Raises `SetupError` if they are no sequence of texts; see `checked_reset`."""
    actions: object = environment.admissible_actions()
    if actions is None:
        return None
    if isinstance(actions, Sequence) and not isinstance(actions, str) and all(map(is_text, actions)):
        return actions
    raise _invalid(environment, "admissible_actions", actions, "sequence of texts")


def has_valid_types(step: Step) -> bool:
    """Whether all fields except the reward have the right types."""
    return (
        is_text(step.observation)
        and is_text(step.dialect)
        and all(type(flag) is bool for flag in (step.done, step.success, step.valid))
        and isinstance(step.scores, Mapping)
        and all(is_text(name) and is_finite(score) for name, score in step.scores.items())
        and (step.answer is None or is_text(step.answer))
    )


def is_text(value: object) -> bool:
    """Whether a value is a text that can be stored: without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_finite(number: object) -> bool:
    """Whether a reward or a score is a finite number."""
    return isinstance(number, Real) and math.isfinite(number)


def _invalid(environment: Environment, method: str, returned: object, expected: str) -> SetupError:
    return SetupError(
        f"{class_name(environment)}.{method} returned {short_repr(returned)} instead of a valid {expected}; fix the "
        "environment (stillhouse check-environment shows all violations), or use another one"
    )


def is_blocking(environment: object) -> bool:
    """Whether an environment or its class declares that its calls may hang, leak or crash."""
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
    listed, templates = checked_actions(environment), open_actions(environment)
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
    copy: object = fork()
    if not isinstance(copy, Environment):
        raise _invalid(environment, "fork", copy, "environment")
    return copy


def class_name(environment: Environment) -> str:
    """Name of the environment's class without its wrappers, for messages."""
    inner = getattr(environment, "inner", None)  # where a wrapper keeps it
    if isinstance(inner, Environment):
        return class_name(inner)
    return str(getattr(environment, "hosted_class", type(environment).__name__))


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
