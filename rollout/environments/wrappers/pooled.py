"""A pool of environments that are reused for later episodes, because some take seconds to start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rollout.concurrency import close_or_warn
from rollout.environment import Environment
from rollout.environments.wrappers.base import EnvironmentWrapper

T = TypeVar("T")


class EnvironmentPool:
    """Lends environments. A closed environment returns to the pool unless one of its calls failed. Thread-safe.

    That which was returned first is lent first, so that none holds a host process that is to be replaced for long.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        self.make = make
        self.free: list[Environment] = []

    def take(self) -> Environment:
        """An environment for exclusive use."""
        try:
            inner = self.free.pop(0)
        except IndexError:
            inner = self.make()
        return PooledEnvironment(self, inner)

    def clear(self) -> None:
        """Close all free environments; one that fails to close is logged."""
        while self.free:
            close_or_warn(self.free.pop())


class PooledEnvironment(EnvironmentWrapper):
    """A borrowed environment. After a call that raised or has not returned, ``close`` closes it permanently."""

    def __init__(self, pool: EnvironmentPool, inner: Environment) -> None:
        super().__init__(inner)
        self.pool = pool
        self._unfinished_calls = 0
        self._returned = False

    @property
    def sound(self) -> bool:
        """Whether every call has returned without an error."""
        return not self._unfinished_calls

    def close(self) -> None:
        """Return the environment to the pool once if it is sound, otherwise close it."""
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
        """The copy itself: it does not belong to the pool, so ``close`` closes it permanently."""
        return inner
