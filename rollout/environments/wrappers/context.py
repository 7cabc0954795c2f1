"""An environment whose first observation holds passages that fit the task: reading for agents that do not search.

It is what chain-of-thought baselines with retrieval get (arXiv 2505.17612, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rollout.environment import Environment, Reset, Task, passages_of
from rollout.environments.wrappers.base import EnvironmentWrapper

Find = Callable[[Environment, Reset], Sequence[str]]
"""Gives the passages of a task that has just begun."""


class ContextEnvironment(EnvironmentWrapper):
    """Another environment, whose tasks begin with passages.

    Args:
        inner: the environment that is played.
        find: gives the passages; blocks until they are there.
    """

    blocking = True

    def __init__(self, inner: Environment, find: Find) -> None:
        super().__init__(inner)
        self._find = find

    def reset(self, task: Task) -> Reset:
        """Start ``task`` and look its words up. Raises what the environment and the search raise."""
        reset = super().reset(task)
        passages = self._find(self.inner, reset)
        return replace(reset, observation="\n".join([*passages, reset.observation]))


def own_passages(k: int) -> Find:
    """Passages of the corpus of an environment that `has_passages`."""
    return lambda environment, reset: [" ".join(passage.split()) for passage in passages_of(environment, k)]


def found_passages(search: Callable[[str], str]) -> Find:
    """What the retrieval service finds for the task's words."""
    return lambda environment, reset: [search(f"{reset.observation}\n{reset.instruction}")]
