"""Circuit breaker of a worker: notices that all its episodes fail in the same way."""

from __future__ import annotations

from rollout.errors import Failure


class Breaker:
    """Consecutive failures of the same kind of one worker's episodes.

    Attributes:
        count: their number; 0 after a success.
        since: number of summaries that the pool had seen at the first one.
        last_success: number of summaries that the pool had seen at the worker's last success.
        on_trial: whether the worker replaces one that was stopped for such failures, and has not yet succeeded.
    """

    def __init__(self) -> None:
        self.count = 0
        self.since = 0
        self.last_success = -1
        self.on_trial = False
        self._kind: tuple[str, str] | None = None

    def update(self, failure: Failure | None, seen: int) -> None:
        """Count the end of an episode; None is a success or a result of the agent."""
        if failure is None:
            self.count, self.last_success, self.on_trial, self._kind = 0, seen, False, None
            return
        kind = (failure.boundary, failure.type)
        if kind != self._kind or not self.count:
            self.count, self.since, self._kind = 0, seen, kind
        self.count += 1

    def trip(self) -> None:
        """The worker is replaced; its successor gets one episode at a time until it succeeds."""
        self.count, self.on_trial, self._kind = 0, True, None

    @property
    def is_closed(self) -> bool:
        """Whether the worker may have as many episodes as its concurrency."""
        return not self.count and not self.on_trial
