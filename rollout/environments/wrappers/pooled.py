"""Environments that wait on a shelf between two batches of episodes, since some take seconds to start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rollout.environment import Environment, Reset, Step, Task, fork_of


class EnvironmentPool:
    """Hands out environments; one that is closed while it works well comes back and is handed out again."""

    def __init__(self, make: Callable[[], Environment]) -> None:
        self.make = make
        self.free: list[Environment] = []

    def take(self) -> Environment:
        """An environment that is nobody else's."""
        return PooledEnvironment(self, self.free.pop() if self.free else self.make())

    def clear(self) -> None:
        """Close all that are on the shelf."""
        while self.free:
            self.free.pop().close()


class PooledEnvironment:
    """An environment on loan. One whose last call raised, or has not come back yet, is closed for good."""

    def __init__(self, pool: EnvironmentPool, inner: Environment) -> None:
        self.pool = pool
        self.inner = inner
        self.blocking = bool(getattr(inner, "blocking", False))
        self.action_forms: Sequence[str] = getattr(inner, "action_forms", ())
        self.sound = True

    def reset(self, task: Task) -> Reset:
        self.sound = False
        answer = self.inner.reset(task)
        self.sound = True
        return answer

    def step(self, action: str) -> Step:
        self.sound = False
        answer = self.inner.step(action)
        self.sound = True
        return answer

    def admissible_actions(self) -> Sequence[str] | None:
        return self.inner.admissible_actions()

    def open_actions(self) -> Sequence[str]:
        return self.inner.open_actions() if hasattr(self.inner, "open_actions") else ()

    def fork(self) -> Environment:
        """A copy that is not on loan: closed, it is gone."""
        self.sound = False
        copy = fork_of(self.inner)
        self.sound = True
        return copy

    def close(self) -> None:
        if self.sound:
            self.pool.free.append(self.inner)
        else:
            self.inner.close()
