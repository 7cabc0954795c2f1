"""Environments that are used again for later episodes, since some take seconds to start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rollout.environment import Environment
from rollout.environments.wrappers.base import EnvironmentWrapper

T = TypeVar("T")


class EnvironmentPool:
    """Hands out environments; one that is closed while it works well comes back and is handed out again."""

    def __init__(self, make: Callable[[], Environment]) -> None:
        self.make = make
        self.free: list[Environment] = []

    def take(self) -> Environment:
        """An environment that is nobody else's."""
        return PooledEnvironment(self, self.free.pop() if self.free else self.make())

    def clear(self) -> None:
        """Close all that are free."""
        while self.free:
            self.free.pop().close()


class PooledEnvironment(EnvironmentWrapper):
    """An environment on loan. One with a call that raised, or that has not come back yet, is closed for good."""

    def __init__(self, pool: EnvironmentPool, inner: Environment) -> None:
        super().__init__(inner)
        self.pool = pool
        self._unfinished_calls = 0
        self._returned = False

    @property
    def sound(self) -> bool:
        """Whether every call has come back without an error."""
        return not self._unfinished_calls

    def close(self) -> None:
        """Give the environment back if it is sound, once."""
        if not self.sound:
            self.inner.close()
        elif not self._returned:
            self._returned = True
            self.pool.free.append(self.inner)

    def _call(self, function: Callable[..., T], *arguments: object) -> T:
        self._unfinished_calls += 1
        answer = function(*arguments)
        self._unfinished_calls -= 1  # not in a finally clause: a call that raised stays unfinished
        return answer

    def _around(self, inner: Environment) -> Environment:
        """The copy itself, which is not on loan: closed, it is gone."""
        return inner
