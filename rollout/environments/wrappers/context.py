"""A wrapper that adds retrieved passages to the first observation, for agents that do not search.

Source: chain-of-thought baselines with retrieval, arXiv 2505.17612, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rollout.environment import Environment, Reset, Task, passages_of
from rollout.environments.wrappers.base import EnvironmentWrapper

Find = Callable[[Environment, Reset], Sequence[str]]
"""Returns the passages for a task after its reset."""


class ContextEnvironment(EnvironmentWrapper):
    """An environment with passages in the first observation.

    Args:
        inner: the wrapped environment.
        find: returns the passages; blocks until they are available.
    """

    def __init__(self, inner: Environment, find: Find) -> None:
        super().__init__(inner)
        self._find = find

    def reset(self, task: Task) -> Reset:
        """Start ``task`` and find its passages. Exceptions of the environment and the search propagate."""
        reset = super().reset(task)
        passages = self._find(self.inner, reset)
        return replace(reset, observation="\n".join([*passages, reset.observation]))


def own_passages(k: int) -> Find:
    """Finds ``k`` passages in the corpus of an environment that `has_passages`."""
    return lambda environment, reset: [" ".join(passage.split()) for passage in passages_of(environment, k)]


def found_passages(search: Callable[[str], str]) -> Find:
    """Finds passages with the retrieval service; the query is the first observation and the instruction."""
    return lambda environment, reset: [search(f"{reset.observation}\n{reset.instruction}")]
