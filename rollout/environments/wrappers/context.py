"""An environment whose first observation holds passages that fit the task: reading for agents that do not search.

It is what chain-of-thought baselines with retrieval get (arXiv 2505.17612, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from rollout.environment import Environment, Reset, Step, Task, fork_of

Find = Callable[[Environment, Reset], Sequence[str]]
"""The passages of a task that has just begun."""


@runtime_checkable
class HasPassages(Protocol):
    """An environment with a corpus of its own."""

    def passages(self, k: int) -> Sequence[str]:
        """The ``k`` passages of its corpus that fit the words of the present task best, a line each."""
        ...


class ContextEnvironment:
    """Another environment, whose tasks begin with passages (`rollout.environment.Environment`).

    Args:
        world: what is played.
        find: gives the passages; blocks until they are there.
    """

    blocking = True

    def __init__(self, world: Environment, find: Find) -> None:
        self._world, self._find = world, find

    def reset(self, task: Task) -> Reset:
        """Start ``task`` and look its words up. Raises what the world and the search raise."""
        reset = self._world.reset(task)
        passages = self._find(self._world, reset)
        return replace(reset, observation="\n".join([*passages, reset.observation]))

    def step(self, action: str) -> Step:
        return self._world.step(action)

    def admissible_actions(self) -> Sequence[str] | None:
        return self._world.admissible_actions()

    @property
    def action_forms(self) -> Sequence[str]:
        """Those of the world."""
        forms: Sequence[str] = getattr(self._world, "action_forms", ())
        return forms

    def fork(self) -> ContextEnvironment:
        """A copy with a copy of the world. Raises `UserError` if that has none."""
        return ContextEnvironment(fork_of(self._world), self._find)

    def close(self) -> None:
        self._world.close()


def own_passages(k: int) -> Find:
    """Passages of the corpus of an environment that `HasPassages`."""

    def find(world: Environment, reset: Reset) -> Sequence[str]:
        assert isinstance(world, HasPassages)
        return [" ".join(passage.split()) for passage in world.passages(k)]

    return find


def passages_of(search: Callable[[str], str]) -> Find:
    """What the retrieval service finds for the task's words."""
    return lambda world, reset: [search(f"{reset.observation}\n{reset.instruction}")]
