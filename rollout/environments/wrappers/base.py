"""Base class of environment wrappers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, TypeVar

from rollout.environment import ABILITIES, Environment, Reset, Step, Task, checked_reset, checked_step

T = TypeVar("T")


class EnvironmentWrapper:
    """Forwards all methods and optional abilities of an environment (`rollout.environment.Environment`).

    A subclass overrides some of them. An optional ability that ``inner`` lacks is missing in the wrapper too. A
    subclass removes an ability by setting it to None.

    Args:
        inner: the wrapped environment.
    """

    def __init__(self, inner: Environment) -> None:
        self.inner = inner

    def reset(self, task: Task) -> Reset:
        return self._call(checked_reset, self.inner, task)

    def step(self, action: str) -> Step:
        return self._call(checked_step, self.inner, action)

    def admissible_actions(self) -> Sequence[str] | None:
        return self._call(self.inner.admissible_actions)

    def close(self) -> None:
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        """An optional ability of ``inner``. Raises `AttributeError` if it has none of this name."""
        if name not in ABILITIES:  # also where ``inner`` itself is not set yet
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        ability = getattr(self.inner, name)
        if not callable(ability):
            return ability
        return partial(self._fork, ability) if name == "fork" else partial(self._call, ability)

    def _call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a method of ``inner``. All calls except ``close`` go through this method."""
        return function(*arguments)

    def _fork(self, fork: Callable[[], Environment]) -> Environment:
        return self._around(self._call(fork))

    def _around(self, inner: Environment) -> Environment:
        """A copy of this wrapper and its state around ``inner``, a copy of its environment."""
        twin = copy(self)
        twin.inner = inner
        return twin
