"""The interface of every environment: tasks come from a `TaskSource`, an `Environment` plays one task at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rollout.errors import UserError
from rollout.grammar import Choice

Payload = Mapping[str, str | int | float | bool | None]
"""All that an environment needs to make the world of a task; JSON types only."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem to solve, small enough to be sent anywhere.

    Attributes:
        id: unique within a run, readable, stable between processes (``household/train/small/17``).
        environment: the name under which the environment is registered.
        split: ``train``, ``valid_seen``, ``valid_unseen`` or what the data set calls it.
        task_type: the family within the environment (``pick_heat_then_place_in_recep``), for per-type figures.
        payload: all the environment needs to make the world, JSON types only.
    """

    id: str
    environment: str
    split: str
    task_type: str
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reset:
    """The start of an episode. ``instruction`` is the task in words, ``observation`` what the agent first sees."""

    observation: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Step:
    """The answer to one action.

    Attributes:
        observation: text shown to the agent.
        reward: the environment's reward of this step; an episode's reward is the sum of its steps'.
        done: the environment has ended the episode.
        success: the task is solved; only ever true together with ``done``.
        valid: the action was one that the environment understands and allows here.
        dialect: the dialect the action was written in, where an environment speaks several; else empty.
        scores: what else the environment says of the episode, by name (``f1``); what a later step says of a name holds.
        answer: the agent's own answer, where this step gave one; what is observed then may say whether it was right.
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
    """Plays one task at a time; not thread-safe. Whatever text the agent writes, ``step`` must answer.

    What an environment may have besides are `OptionalAbilities`.
    """

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` with a clear sentence if the task's data is missing or damaged."""
        ...

    def step(self, action: str) -> Step:
        """Do one action."""
        ...

    def admissible_actions(self) -> Sequence[str] | None:
        """All actions allowed now, sorted; None if the environment cannot list them."""
        ...

    def close(self) -> None:
        """Release processes and files."""
        ...


class OptionalAbilities(Protocol):
    """What an environment may have besides: each member by itself. One that is missing, or is None, is not there.

    This is the only list of them. `rollout.environments.wrappers.base.EnvironmentWrapper` forwards what stands here, so
    that a wrapped environment can do what the environment itself can. The functions below read them.
    """

    @property
    def blocking(self) -> bool:
        """Whether its calls wait for something, so that callers with an event loop make them in a thread."""
        ...

    @property
    def action_forms(self) -> Sequence[str]:
        """How actions are written, with one ``{}`` for words of the agent's own, at the end or before a closing bracket
        (``search[{}]``).
        """
        ...

    def open_actions(self) -> Sequence[str]:
        """The forms of those actions that are allowed now and that ``admissible_actions`` cannot list."""
        ...

    def fork(self) -> Environment:
        """A copy in its present state. Either goes on without the other, also in another thread."""
        ...

    def passages(self, k: int) -> Sequence[str]:
        """The ``k`` passages of its own corpus that fit the words of the present task best, a line each."""
        ...


ABILITIES = tuple(name for name in vars(OptionalAbilities) if not name.startswith("_"))
"""Names of the optional abilities."""


def is_blocking(environment: Environment) -> bool:
    """Whether its calls are to be made in a thread."""
    return bool(getattr(environment, "blocking", False))


def action_forms(environment: Environment) -> tuple[str, ...]:
    """How its actions are written; empty if it does not say."""
    return tuple(getattr(environment, "action_forms", None) or ())


def open_actions(environment: Environment) -> tuple[str, ...]:
    """The forms of actions that are allowed now and cannot be listed; empty if it does not say."""
    function = getattr(environment, "open_actions", None)
    return () if function is None else tuple(function())


def legal_actions(environment: Environment) -> Choice | None:
    """All actions that are allowed now; None if the environment does not list them."""
    listed, forms = environment.admissible_actions(), open_actions(environment)
    return None if listed is None and not forms else Choice(tuple(dict.fromkeys(listed or ())), forms)


def has_passages(environment: Environment) -> bool:
    """Whether it has a corpus of its own."""
    return getattr(environment, "passages", None) is not None


def passages_of(environment: Environment, k: int) -> Sequence[str]:
    """The ``k`` passages of its own corpus that fit the present task best. The environment `has_passages`."""
    passages: Sequence[str] = getattr(environment, "passages")(k)  # noqa: B009 (not in the protocol)
    return passages


def fork_of(environment: Environment) -> Environment:
    """A copy of an environment. Raises `UserError` if it cannot be copied."""
    fork = getattr(environment, "fork", None)
    if fork is None:
        raise UserError(
            f"agent.acting is self_consistent, but {class_name(environment)} cannot be copied to try an action in; "
            "set agent.acting to plain, or take another environment"
        )
    copy: Environment = fork()
    return copy


def class_name(environment: Environment) -> str:
    """The name of an environment's class, without the wrappers around it, for messages."""
    inner = getattr(environment, "inner", None)  # where a wrapper keeps it
    return class_name(inner) if isinstance(inner, Environment) else type(environment).__name__


class TaskSource(Protocol):
    """Where tasks come from: a generator of worlds or a data set. Same arguments, same tasks, in any process."""

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        ...

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """The first ``count`` tasks of ``split`` in the order that ``seed`` gives."""
        ...
