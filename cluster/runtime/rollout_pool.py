"""A pool of rollout workers: episodes go in, summaries come out in the order in which episodes finish.

    requests ──▶ queue ──▶ chunk ──▶ worker 0 ──▶ batch of summaries ──┐
                  ▲  └───▶ chunk ──▶ worker 1 ──▶ batch of summaries ──┴──▶ summaries
                  └── what a dead worker still owed ──┘

A worker gets its next chunk as soon as it holds fewer episodes than it can play at once, so none waits for another. The
same pool drives workers in this process and Ray actors: both are a `Worker`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from cluster.run.episodes import EpisodeRequest
from cluster.runtime.guidance import BankRequest
from rollout.concurrency import run_all
from rollout.errors import UserError
from rollout.trajectory import Trajectory

MAX_RESTARTS = 3
"""Times that one worker may die while a pool lives."""


REFILL_PARTS = 8
"""A worker is given new episodes when this part of its places is free: fewer, larger messages than one an episode."""


class WorkerDied(Exception):
    """A worker's process is gone. What it had not delivered is played again."""


class PoolError(UserError):
    """A pool cannot go on; the message says why, with the end of the log where there is one."""


class Worker(Protocol):
    """What a pool needs of a worker; `RolloutWorker` is one as it stands."""

    async def start(self) -> tuple[str, ...]:
        """Bring the engine up; returns sentences that the user should read."""
        ...

    def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        """Play and store episodes of one stage; yields summaries of what is stored. May run several times at once."""
        ...

    async def make_bank(self, request: BankRequest) -> Mapping[str, int]:
        """Make a bank of hints of failed episodes."""
        ...

    async def load_weights(self, folder: str, version: int) -> None:
        """Take new weights in place."""
        ...

    async def stop(self) -> None:
        """Free everything."""
        ...


Played: TypeAlias = tuple[EpisodeRequest, Trajectory]
Results: TypeAlias = "asyncio.Queue[Played | None]"


class Slot:
    """One place in a pool: the worker that fills it now, and how many episodes it owes."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.owed = 0
        self.deaths = 0
        self.reviving = asyncio.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether no death of the worker is being made good."""
        return not self.reviving.locked()


class Pool:
    """Workers with one engine configuration. One ``rollout`` at a time."""

    def __init__(self, name: str, spawn: Callable[[], Worker], num_workers: int, concurrency: int) -> None:
        """``spawn`` makes a worker that is not started; ``concurrency`` is what each can play at once."""
        self.name = name
        self.spawn = spawn
        self.num_workers = num_workers
        self.concurrency = concurrency
        self.refill = max(1, concurrency // REFILL_PARTS)
        self.slots: list[Slot] = []
        self.changed = asyncio.Event()
        self.weights: tuple[str, int] | None = None
        self.notes: set[str] = set()
        """What the workers said when they started."""

    @property
    def weight_version(self) -> int:
        """Version of the weights that all workers have; 0 as started."""
        return self.weights[1] if self.weights else 0

    async def start(self) -> None:
        """Start all workers at the same time. Raises what a worker's start raises; `PoolError` if one dies."""
        self.slots = [Slot(self.spawn()) for _ in range(self.num_workers)]
        try:
            await run_all(*(self._start(slot) for slot in self.slots))
        except WorkerDied as death:
            raise PoolError(f"A worker of the {self.name} pool died while it started. {death}") from death

    async def _start(self, slot: Slot) -> None:
        self.notes.update(await slot.worker.start())

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[Played]:
        """Play all; yields each request once, with its summary (a Trajectory without segments), when it is stored."""
        queue = deque(requests)
        results: Results = asyncio.Queue()
        playing = asyncio.ensure_future(run_all(self._dispatch(queue, results)))
        playing.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while (played := await results.get()) is not None:
                yield played
            await playing
        finally:
            playing.cancel()

    async def make_bank(self, request: BankRequest) -> Mapping[str, int]:
        """Have one of the workers make a bank of hints; what to report of it."""
        while True:
            slot = self.slots[0]
            worker = slot.worker
            try:
                return await worker.make_bank(request)
            except WorkerDied as death:
                await self._revive(slot, worker, death)

    async def load_weights(self, folder: str, version: int) -> None:
        """Give every worker the checkpoint's weights; a worker that is restarted later gets them too."""
        self.weights = (folder, version)
        await asyncio.gather(*(slot.worker.load_weights(folder, version) for slot in self.slots))

    async def stop(self) -> None:
        """Stop all workers, also those that are still starting."""
        slots, self.slots = self.slots, []
        await asyncio.gather(*(slot.worker.stop() for slot in slots))

    async def _dispatch(self, queue: deque[EpisodeRequest], results: Results) -> None:
        """Consumes the queue. Waits for a worker with free places. Ends when nothing is left or owed."""
        async with asyncio.TaskGroup() as chunks:
            while queue or any(slot.owed for slot in self.slots):
                ready = [slot for slot in self.slots if slot.is_alive and self.concurrency - slot.owed >= self.refill]
                if queue and ready:
                    slot = min(ready, key=lambda slot: slot.owed)
                    chunk = self._take(queue, self.concurrency - slot.owed)
                    slot.owed += len(chunk)
                    chunks.create_task(self._play(slot, chunk, queue, results))
                else:
                    await self.changed.wait()
                    self.changed.clear()

    def _take(self, queue: deque[EpisodeRequest], free: int) -> list[EpisodeRequest]:
        """A chunk of one stage for ``free`` places, smaller towards the end, so that all workers end together."""
        size = min(free, math.ceil(len(queue) / self.num_workers))
        chunk = [queue.popleft()]
        while len(chunk) < size and queue[0].stage is chunk[0].stage:
            chunk.append(queue.popleft())
        return chunk

    async def _play(
        self, slot: Slot, chunk: Sequence[EpisodeRequest], queue: deque[EpisodeRequest], results: Results
    ) -> None:
        """Produces the chunk's summaries; what a dying worker still owed goes back to the head of the queue."""
        worker = slot.worker
        missing = {request.key: request for request in chunk}
        try:
            async for batch in worker.rollout(chunk):
                for summary in batch:
                    results.put_nowait((missing.pop(summary.key), summary))
                self._settle(slot, len(batch))
            assert not missing, f"a worker of the {self.name} pool left out {sorted(missing)}"
        except WorkerDied as death:
            await self._revive(slot, worker, death)
            queue.extendleft(missing.values())
            self._settle(slot, len(missing))

    def _settle(self, slot: Slot, num_episodes: int) -> None:
        """Note that a worker owes fewer episodes, and wake the dispatcher."""
        slot.owed -= num_episodes
        self.changed.set()

    async def _revive(self, slot: Slot, dead: Worker, death: WorkerDied) -> None:
        """Put a new worker in the place of a dead one; chunks that died with the same worker wait for the same one."""
        async with slot.reviving:
            while slot.worker is dead:
                slot.deaths += 1
                if slot.deaths > MAX_RESTARTS:
                    raise PoolError(
                        f"A worker of the {self.name} pool died {slot.deaths} times; finished episodes are kept and "
                        f"the same command goes on from there. {death}"
                    ) from death
                try:
                    replacement = self.spawn()
                    await replacement.start()
                    if self.weights:
                        await replacement.load_weights(*self.weights)
                    slot.worker = replacement
                except WorkerDied as again:
                    death = again
