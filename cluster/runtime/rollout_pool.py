"""A pool of rollout workers: episodes go in, summaries come out in the order in which episodes finish.

    requests ──▶ batches, by priority ──▶ chunk ──▶ worker 0 ──▶ summaries ──┐
                  ▲                  └──▶ chunk ──▶ worker 1 ──▶ summaries ──┴──▶ each to its batch
                  └── what a dead worker still owed

A worker gets its next chunk as soon as it holds fewer episodes than its concurrency, so none waits for another. Several
steps may use a pool at the same time; requests of the step with the lowest priority number go first. The same pool
drives workers in this process and Ray actors: both are a `Worker`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, WorkerJob
from rollout.concurrency import run_all, with_timeout
from rollout.errors import EngineDied, UserError
from rollout.trajectory import Trajectory

_log = logging.getLogger(__name__)

REFILL_PARTS = 8
"""A worker is given new episodes when this part of its concurrency is free: fewer, larger messages."""


class WorkerDied(Exception):
    """A worker's process is gone. What it had not delivered is requested again."""


DEATHS = (WorkerDied, EngineDied)
"""Errors after which a worker is replaced: without its process or without its engine it can do nothing."""


class PoolError(UserError):
    """A pool cannot go on; the message says why, with the end of the log where there is one."""


class Worker(Protocol):
    """What a pool needs of a worker; `RolloutWorker` is one as it stands."""

    async def start(self) -> tuple[str, ...]:
        """Start the engine; returns sentences that the user should read."""

    def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        """Produce and store episodes of one spec; yields summaries, also of episodes that are owed and not stored.

        May run several times at once. Raises `EngineDied` or `WorkerDied` if the worker must be replaced.
        """

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        """Run a job that is not an episode."""

    async def load_weights(self, folder: str, version: int) -> None:
        """Take new weights in place."""

    async def stop(self) -> None:
        """Free everything."""


class Slot:
    """One place in a pool: the worker that fills it now, and how many episodes it owes."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.owed = 0
        self.deaths = 0
        self.reviving = asyncio.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether no worker is being replaced here."""
        return not self.reviving.locked()


class Batch:
    """The requests of one `Pool.rollout` and their results."""

    def __init__(self, requests: Sequence[EpisodeRequest], priority: int) -> None:
        self.queue = deque(requests)
        self.priority = priority
        self.results: asyncio.Queue[Trajectory | Exception] = asyncio.Queue()
        self.chunks: set[asyncio.Task[None]] = set()

    def take(self, size: int) -> list[EpisodeRequest]:
        """Up to ``size`` requests of one spec from the head of the queue."""
        chunk = [self.queue.popleft()]
        while self.queue and len(chunk) < size and self.queue[0].spec is chunk[0].spec:
            chunk.append(self.queue.popleft())
        return chunk


class Pool:
    """Workers with one engine configuration."""

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Worker],
        num_workers: int,
        concurrency: int,
        restarts: WorkerPolicy | None = None,
    ) -> None:
        """``spawn`` makes a worker that is not started; ``concurrency`` is what each can run at once."""
        self.name = name
        self.spawn = spawn
        self.num_workers = num_workers
        self.concurrency = concurrency
        self.restarts = restarts or WorkerPolicy()
        self.refill = max(1, concurrency // REFILL_PARTS)
        self.slots: list[Slot] = []
        self.batches: list[Batch] = []
        self.weights: tuple[str, int] | None = None
        self.notes: set[str] = set()
        """Sentences of the workers that have started."""

    @property
    def weight_version(self) -> int:
        """Version of the weights that all workers have; 0 as started."""
        return self.weights[1] if self.weights else 0

    async def start(self) -> None:
        """Start all workers at the same time. Raises what a worker's start raises; `PoolError` if one dies."""
        self.slots = [Slot(self.spawn()) for _ in range(self.num_workers)]
        try:
            await run_all(*(self._start(slot) for slot in self.slots))
        except DEATHS as death:
            raise PoolError(f"A worker of the {self.name} pool died while it started. {death}") from death

    async def _start(self, slot: Slot) -> None:
        self.notes.update(await slot.worker.start())

    async def rollout(self, requests: Sequence[EpisodeRequest], priority: int = 0) -> AsyncGenerator[Trajectory, None]:
        """Produce all requests; yields the summary of each one once, when its episode is stored.

        Stop iterating (``aclose``) to give up the rest.
        """
        batch = Batch(requests, priority)
        self.batches.append(batch)
        self.batches.sort(key=lambda batch: batch.priority)
        self._dispatch()
        try:
            for _ in requests:
                result = await batch.results.get()
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self.batches.remove(batch)
            for chunk in batch.chunks:
                chunk.cancel()

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        """Run a job on one of the workers; returns what to report of it."""
        while True:
            slot = self.slots[0]
            worker = slot.worker
            try:
                return await worker.call(job)
            except DEATHS as death:
                await self._revive(slot, worker, death)

    async def load_weights(self, folder: str, version: int) -> None:
        """Give every worker the checkpoint's weights; a worker that is restarted later gets them too."""
        self.weights = (folder, version)
        await run_all(*(self._load_weights(slot, folder, version) for slot in self.slots))

    async def _load_weights(self, slot: Slot, folder: str, version: int) -> None:
        worker = slot.worker
        try:
            await worker.load_weights(folder, version)
        except DEATHS as death:
            await self._revive(slot, worker, death)

    async def stop(self) -> None:
        """Stop all workers, also those that are still starting."""
        slots, self.slots = self.slots, []
        await asyncio.gather(*(slot.worker.stop() for slot in slots))

    def _dispatch(self) -> None:
        """Give chunks to workers until no request is queued or no worker has room."""
        while True:
            batch = next((batch for batch in self.batches if batch.queue), None)
            ready = [slot for slot in self.slots if slot.is_alive and self.concurrency - slot.owed >= self.refill]
            if batch is None or not ready:
                return
            slot = min(ready, key=lambda slot: slot.owed)
            # Chunks get smaller towards the end, so that all workers finish at the same time.
            share = math.ceil(sum(len(each.queue) for each in self.batches) / self.num_workers)
            chunk = batch.take(min(self.concurrency - slot.owed, share))
            slot.owed += len(chunk)
            task = asyncio.create_task(self._produce(slot, chunk, batch))
            batch.chunks.add(task)
            task.add_done_callback(batch.chunks.discard)

    async def _produce(self, slot: Slot, chunk: Sequence[EpisodeRequest], batch: Batch) -> None:
        """Produces the chunk's summaries; what a dying worker still owed goes back to the head of the queue."""
        worker = slot.worker
        missing = {request.key: request for request in chunk}
        try:
            try:
                async for summaries in worker.rollout(chunk):
                    for summary in summaries:
                        del missing[summary.key]
                        batch.results.put_nowait(summary)
                    slot.owed -= len(summaries)
                    self._dispatch()
                assert not missing, f"a worker of the {self.name} pool left out {sorted(missing)}"
            except DEATHS as death:
                await self._revive(slot, worker, death)
                batch.queue.extendleft(reversed(missing.values()))
        except Exception as error:
            batch.results.put_nowait(error)  # raised where the batch is consumed
        finally:
            slot.owed -= len(missing)
            self._dispatch()

    async def _revive(self, slot: Slot, dead: Worker, death: Exception) -> None:
        """Put a new worker in the place of a dead one; chunks that died with the same worker wait for the same one."""
        async with slot.reviving:
            if slot.worker is dead:
                await self._stop_dead(dead)
            while slot.worker is dead:
                slot.deaths += 1
                if not self.restarts.allows(slot.deaths):
                    times = "once" if slot.deaths == 1 else f"{slot.deaths} times"
                    raise PoolError(
                        f"A worker of the {self.name} pool died {times}, and failures.{self.name}.max_restarts is "
                        f"{self.restarts.max_restarts}; finished episodes are kept and the same command goes on from "
                        f"there. {death}"
                    ) from death
                try:
                    replacement = self.spawn()
                    await replacement.start()
                    if self.weights:
                        await replacement.load_weights(*self.weights)
                    slot.worker = replacement
                except DEATHS as again:
                    death = again

    async def _stop_dead(self, worker: Worker) -> None:
        """Free what a worker still holds whose engine died, so that there is room for the next one."""
        try:
            await with_timeout(2 * self.restarts.stop_timeout_s, worker.stop())  # a worker on Ray has the limit itself
        except Exception as error:  # it is replaced whatever it answers
            _log.warning("a dead worker of the %s pool did not stop: %s: %s", self.name, type(error).__name__, error)
