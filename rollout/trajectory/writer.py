"""Collects finished episodes into few shards: many coroutines hand over one episode each and wait until it is stored.

A shard is written when one of these holds:

- `SHARD_EPISODES` episodes or `SHARD_TOKENS` tokens are there;
- the oldest one has waited for ``max_delay_s``;
- no episode has been in progress for `IDLE_S`, so that no other one will come soon;
- an episode that is owed has waited for `OWED_DELAY_S`. It is not stored, but reported after those that ended before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter

from rollout.trajectory.owed import is_owed
from rollout.trajectory.record import Trajectory
from rollout.trajectory.store import TrajectoryStore

SHARD_EPISODES = 64
SHARD_TOKENS = 2**18
"""Bounds the memory of episodes with distributions: about 1 KB a token with 16 entries each."""
IDLE_S, OWED_DELAY_S = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An episode that waits, until ``due_s`` on the clock of the event loop at the latest."""

    trajectory: Trajectory
    due_s: float
    stored: asyncio.Future[None]


class ShardWriter:
    """Writes the episodes of one store; belongs to one event loop."""

    def __init__(self, store: TrajectoryStore, max_delay_s: float) -> None:
        self._store = store
        self._max_delay_s = max_delay_s
        self._waiting: list[_Waiting] = []
        self._tokens = 0
        self._in_progress = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    @contextmanager
    def episode(self) -> Iterator[None]:
        """Count an episode as in progress for the block."""
        self._in_progress += 1
        self._schedule()
        try:
            yield
        finally:
            self._in_progress -= 1
            self._schedule()

    async def write(self, trajectory: Trajectory) -> None:
        """Store an episode; returns when its shard is in the store. One that is owed is not stored.

        Raises:
            UserError: no space is left.
            OSError: the storage failed. No episode of the shard is stored then.
        """
        loop = asyncio.get_running_loop()
        delay_s = min(self._max_delay_s, OWED_DELAY_S) if is_owed(trajectory) else self._max_delay_s
        waiting = _Waiting(trajectory, loop.time() + delay_s, loop.create_future())
        self._waiting.append(waiting)
        self._tokens += trajectory.num_tokens()
        self._schedule()
        await waiting.stored

    async def flush(self) -> None:
        """Write what waits, and return when it is stored. Raises nothing: `write` does."""
        while self._waiting or self._writing:
            self._begin()
            if self._writing is not None:
                await asyncio.wait([self._writing])

    def _schedule(self) -> None:
        """Set the timer of the next shard. While one is written, those that end share the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._writing is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._due_s(loop.time()), self._begin)

    def _due_s(self, now_s: float) -> float:
        if len(self._waiting) >= SHARD_EPISODES or self._tokens >= SHARD_TOKENS:
            return now_s
        due_s = min(each.due_s for each in self._waiting)
        return due_s if self._in_progress else min(due_s, now_s + IDLE_S)

    def _begin(self) -> None:
        if self._waiting and self._writing is None:
            batch, self._waiting, self._tokens = self._waiting, [], 0
            self._writing = asyncio.create_task(self._write(batch))

    async def _write(self, batch: list[_Waiting]) -> None:
        # In the order of keys, which is the order of training, so that small runs do not depend on the order of ends.
        kept = sorted((each.trajectory for each in batch if not is_owed(each.trajectory)), key=attrgetter("key"))
        error: Exception | None = None
        try:
            await asyncio.to_thread(self._store.write, kept)
        except Exception as raised:
            error = raised
        for each in batch:
            if not each.stored.done():  # its caller may be gone
                each.stored.set_exception(error) if error else each.stored.set_result(None)
        self._writing = None
        self._schedule()
