"""The interface of every environment: tasks come from a `TaskSource`, an `Environment` plays one task at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rollout.errors import UserError


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
    payload: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


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

    What an environment may have besides:

    - ``blocking = True``: its calls wait for something, so that callers with an event loop make them in a thread;
    - ``fork() -> Environment``: a copy in its present state; either goes on without the other, also in another thread.
      An agent that tries several actions needs it (`fork_of`);
    - ``action_forms: Sequence[str]``: how actions are written, with one ``{}`` for words of the agent's own, at the end
      or before a closing bracket (``search[{}]``);
    - ``open_actions() -> Sequence[str]``: the forms of those actions that are allowed now and cannot be listed.
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


def fork_of(environment: Environment) -> Environment:
    """A copy of an environment. Raises `UserError` if it cannot be copied."""
    fork = getattr(environment, "fork", None)
    if fork is None:
        raise UserError(
            f"agent.acting is self_consistent, but {type(environment).__name__} cannot be copied to try an action in; "
            "set agent.acting to plain, or take another environment"
        )
    copy: Environment = fork()
    return copy


class TaskSource(Protocol):
    """Where tasks come from: a generator of worlds or a data set. Same arguments, same tasks, in any process."""

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        ...

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """The first ``count`` tasks of ``split`` in the order that ``seed`` gives."""
        ...
