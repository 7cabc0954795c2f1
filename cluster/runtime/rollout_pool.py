"""A pool of rollout workers: episodes go in, summaries come out in the order in which episodes finish.

    requests ──▶ batches, by priority ──▶ chunk ──▶ worker 0 ──▶ summaries ──┐
                  ▲                  └──▶ chunk ──▶ worker 1 ──▶ summaries ──┴──▶ each to its batch
                  └── what a dead worker still owed, at once

A worker gets its next chunk as soon as it holds fewer episodes than its concurrency, so none waits for another. Several
steps may use a pool at the same time; requests of the step with the lowest priority number go first. Each worker has a
`Slot`, which replaces it when it dies; the others go on meanwhile, and one worker is enough to go on. The same pool
drives workers in this process and Ray actors: both are a `Worker`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, Requests, RolloutUpdate, WorkerJob
from cluster.run.failed_episodes import KILLS_WORKERS
from cluster.runtime.breaker import Breaker
from cluster.runtime.slot import PoolEvent, Slot, Weights, times
from cluster.runtime.suspects import Suspects
from cluster.runtime.worker import DEATHS, PoolError, Worker, WorkerDied
from rollout.errors import Boundary, Cause, Failure, UserError
from rollout.messages import first_line
from rollout.trajectory import Key, Trajectory, failed_episode, is_owed

REFILL_PARTS = 8
"""A worker is given new episodes when this part of its concurrency is free: fewer, larger messages."""


class Batch:
    """The requests of one `Pool.rollout` and their results."""

    def __init__(self, requests: Requests, priority: int) -> None:
        self.queue = deque[EpisodeRequest]()
        """Requests that go before those that were not taken yet: they come from dead workers."""
        self.suspects: deque[EpisodeRequest] = deque()
        """Requests that may be played only one at a time on a worker."""
        self.priority = priority
        self.results: asyncio.Queue[Trajectory | Exception] = asyncio.Queue()
        self._fresh = iter(requests)
        self._num_fresh = len(requests)

    @property
    def num_free(self) -> int:
        """Number of requests that no worker has and that may be played beside any others."""
        return len(self.queue) + self._num_fresh

    @property
    def num_queued(self) -> int:
        """Number of requests that no worker has."""
        return self.num_free + len(self.suspects)

    def take(self, size: int) -> list[EpisodeRequest]:
        """Up to ``size`` requests of one spec from the head of the queue; if there is none, one suspect."""
        if not self.num_free:
            return [self.suspects.popleft()]
        chunk = [self._next()]
        while self.num_free and len(chunk) < size:
            request = self._next()
            if request.spec is not chunk[0].spec:
                self.queue.appendleft(request)
                break
            chunk.append(request)
        return chunk

    def _next(self) -> EpisodeRequest:
        if self.queue:
            return self.queue.popleft()
        self._num_fresh -= 1
        return next(self._fresh)


class Chunk:
    """Requests of one batch that a worker has.

    Attributes:
        missing: those whose summary has not come.
        playing: those whose episode has not ended.
    """

    def __init__(self, batch: Batch, worker: Worker, requests: Sequence[EpisodeRequest], *, is_suspect: bool) -> None:
        self.batch = batch
        self.worker = worker
        self.requests = requests
        self.missing = {request.key: request for request in requests}
        self.playing = dict(self.missing)
        self.is_suspect = is_suspect
        self.task: asyncio.Task[None] | None = None


class Pool:
    """Workers with one engine configuration."""

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Worker],
        num_workers: int,
        concurrency: int,
        policy: WorkerPolicy | None = None,
        on_event: Callable[[PoolEvent], None] = lambda event: None,
    ) -> None:
        """``spawn`` makes a worker that is not started; ``concurrency`` is what each can run at once."""
        self.name = name
        self.spawn = spawn
        self.num_workers = num_workers
        self.concurrency = concurrency
        self.policy = policy or WorkerPolicy()
        self.on_event = on_event
        self.refill = max(1, concurrency // REFILL_PARTS)
        self.slots: list[Slot] = []
        self.batches: list[Batch] = []
        self.weights: Weights | None = None
        self._chunks: dict[Slot, list[Chunk]] = {}
        self._breakers: dict[Slot, Breaker] = {}
        self._suspects = Suspects()
        self._keepers: list[asyncio.Task[None]] = []
        self._up = asyncio.Event()
        """Set while a worker is ready, and when the pool has failed."""
        self._has_worked = False
        """Whether a worker has been ready, so that the settings are not to blame for one that is not."""
        self._error: Exception | None = None
        self._seen = 0
        """Number of summaries that have come out."""

    @property
    def weight_version(self) -> int:
        """Version of the weights that all workers have; 0 as started."""
        return self.weights[1] if self.weights else 0

    async def start(self) -> None:
        """Start all workers; returns when the first one is ready.

        Raises:
            UserError: a worker cannot start with its settings.
            PoolError: all workers died.
        """
        self.slots = [Slot(number, self.spawn, self.policy, self) for number in range(self.num_workers)]
        self._chunks = {slot: [] for slot in self.slots}
        self._breakers = {slot: Breaker() for slot in self.slots}
        for slot in self.slots:
            keeper = asyncio.create_task(slot.run())
            keeper.add_done_callback(partial(self._on_retired, slot))
            self._keepers.append(keeper)
        await self._wait_ready()

    async def rollout(self, requests: Requests, priority: int = 0) -> AsyncGenerator[Trajectory, None]:
        """Produce all requests; yields the summary of each one once, when its episode is stored.

        An episode that kills its workers is yielded as a failed one. Stop iterating (``aclose``) to give up the rest.
        """
        batch = Batch(requests, priority)
        self.batches.append(batch)
        self.batches.sort(key=lambda batch: batch.priority)
        if self._error is not None:
            batch.results.put_nowait(self._error)
        self._dispatch()
        try:
            for _ in range(len(requests)):
                result = await batch.results.get()
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self.batches.remove(batch)
            for chunk in [chunk for chunks in self._chunks.values() for chunk in chunks if chunk.batch is batch]:
                assert chunk.task is not None
                chunk.task.cancel()

    def vouch(self) -> None:
        """Take note that other episodes were completed before, so that a task can be blamed for its workers' deaths."""
        self._suspects.others_complete = True

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        """Run a job on one of the workers; returns what to report of it."""
        while True:
            slot = await self._wait_ready()
            assert slot.worker is not None
            try:
                return await slot.ask(_call(slot.worker, job))
            except DEATHS:
                continue

    async def load_weights(self, folder: str, version: int) -> None:
        """Give every worker the checkpoint's weights; one that starts later gets them before its first episode."""
        self.weights = (folder, version)
        await asyncio.gather(*(slot.catch_up() for slot in self.slots))
        await self._wait_ready()

    async def stop(self) -> None:
        """Stop all workers, also those that are still starting."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        slots, self.slots = self.slots, []
        await asyncio.gather(*(slot.stop() for slot in slots))

    def on_ready(self, slot: Slot) -> None:
        """See `cluster.runtime.slot.SlotOwner`."""
        self._has_worked = True
        self._up.set()
        self._dispatch()

    def on_death(self, slot: Slot, death: Exception) -> None:
        """Request again at once what a dead worker still owed, except an episode that explains its deaths."""
        chunks, self._chunks[slot], slot.owed = self._chunks[slot], [], 0
        lost = [(chunk.batch, request) for chunk in chunks for request in chunk.missing.values()]
        for chunk in chunks:
            assert chunk.task is not None
            chunk.task.cancel()
        playing = [chunk.playing.popitem()[1] for chunk in chunks for _ in range(len(chunk.playing))]
        killer = self._suspects.blame(playing, slot.budget)
        for batch, request in reversed(lost):
            if request is killer:
                batch.results.put_nowait(failed_episode(request.identity, _killed_workers(death)))
            else:
                (batch.suspects if self._suspects.is_suspect(request) else batch.queue).appendleft(request)
        if not any(each.worker for each in self.slots):
            self._up.clear()
        self._dispatch()

    def _on_retired(self, slot: Slot, keeper: asyncio.Task[None]) -> None:
        """A slot starts no worker any more: the pool goes on if another one is ready or was, else it has failed."""
        if keeper.cancelled():
            return
        error = keeper.exception()
        if isinstance(error, Exception):
            slot.error = error
        if isinstance(error, UserError) and self._has_worked:
            self.on_event(PoolEvent("retired", f"{slot.name} cannot start: {error}"))
        elif isinstance(error, Exception):
            self._fail(error)
        if all(each.error for each in self.slots):
            self._fail(self._exhausted(slot))

    def _fail(self, error: Exception) -> None:
        """Raise an error where the pool is used."""
        self._error = self._error or error
        self._up.set()
        for batch in self.batches:
            batch.results.put_nowait(self._error)

    def _exhausted(self, slot: Slot) -> Exception:
        if isinstance(slot.error, UserError):
            return slot.error
        deaths = times(slot.budget.deaths)
        return PoolError(
            f"A worker of the {self.name} pool died {deaths}, and failures.{self.name}.max_restarts is "
            f"{self.policy.max_restarts}; finished episodes are kept and the same command goes on from there. "
            f"{slot.error}"
        )

    async def _wait_ready(self) -> Slot:
        """A slot whose worker is ready. Raises the error of the pool if it has failed."""
        while True:
            await self._up.wait()
            if self._error is not None:
                raise self._error
            ready = [slot for slot in self.slots if slot.worker is not None]
            if ready:
                return min(ready, key=lambda slot: slot.owed)
            self._up.clear()

    def _dispatch(self) -> None:
        """Give chunks to workers until no request is queued or no worker has room."""
        while (choice := self._next()) is not None:
            slot, batch = choice
            # Chunks get smaller towards the end, so that all workers finish at the same time.
            num_ready = sum(slot.worker is not None for slot in self.slots)
            share = math.ceil(sum(each.num_queued for each in self.batches) / num_ready)
            room = self._limit(slot) - slot.owed
            self._send(slot, batch, batch.take(min(room, share)))

    def _next(self) -> tuple[Slot, Batch] | None:
        """The worker with the most room, and the first batch that has a request for it."""
        for batch in self.batches:
            if batch.num_queued:
                able = (slot for slot in self.slots if self._has_room(slot))
                if not batch.num_free:  # suspects only
                    able = (slot for slot in able if not self._plays_suspect(slot))
                if slot := min(able, key=lambda slot: slot.owed, default=None):
                    return slot, batch
        return None

    def _plays_suspect(self, slot: Slot) -> bool:
        return any(chunk.is_suspect and chunk.playing for chunk in self._chunks[slot])

    def _has_room(self, slot: Slot) -> bool:
        """Whether a worker is ready and has so few episodes that it is sent new ones."""
        limit = self._limit(slot)
        return slot.worker is not None and limit - slot.owed >= min(self.refill, limit)

    def _limit(self, slot: Slot) -> int:
        """Number of episodes that a worker may have at once: one while its episodes fail."""
        return self.concurrency if self._breakers[slot].is_closed else 1

    def _send(self, slot: Slot, batch: Batch, requests: list[EpisodeRequest]) -> None:
        assert slot.worker is not None
        chunk = Chunk(batch, slot.worker, requests, is_suspect=self._suspects.is_suspect(requests[0]))
        self._chunks[slot].append(chunk)
        slot.owed += len(requests)
        chunk.task = asyncio.create_task(self._produce(slot, chunk))

    async def _produce(self, slot: Slot, chunk: Chunk) -> None:
        """Produce the summaries of a chunk. Its requests are sent again if the worker dies (`on_death`)."""
        try:
            async for update in chunk.worker.rollout(chunk.requests):
                self._take(slot, chunk, update)
                self._dispatch()
            assert not chunk.missing, f"a worker of the {self.name} pool left out {sorted(chunk.missing)}"
        except DEATHS as death:
            slot.report(chunk.worker, death)
        except Exception as error:
            chunk.batch.results.put_nowait(error)  # raised where the batch is consumed
        finally:
            if chunk in self._chunks[slot]:
                self._chunks[slot].remove(chunk)
                slot.owed -= len(chunk.playing)
            self._dispatch()

    def _take(self, slot: Slot, chunk: Chunk, update: RolloutUpdate) -> None:
        """Free the places of episodes that ended, and deliver summaries."""
        for summary in update.summaries:  # before a worker is replaced, which requests again what is missing
            del chunk.missing[summary.key]
            chunk.batch.results.put_nowait(summary)
        for key in update.ended:
            self._end(slot, chunk, key, None)
        for summary in update.summaries:
            self._end(slot, chunk, summary.key, _workers_failure(summary))

    def _end(self, slot: Slot, chunk: Chunk, key: Key, failure: Failure | None) -> None:
        """An episode has ended. Replaces a worker whose episodes all fail in the same way while those of others do not.

        Does nothing for an episode whose end was noted before.
        """
        if (request := chunk.playing.pop(key, None)) is None:
            return
        slot.owed -= 1
        self._suspects.clear(request)
        self._seen += 1
        breaker = self._breakers[slot]
        breaker.update(failure, self._seen)
        if failure is None:
            slot.completed()
            return
        others = (self._breakers[other] for other in self.slots if other is not slot)
        if breaker.count < self.policy.max_failures_in_a_row or all(b.last_success < breaker.since for b in others):
            return
        last = f"its last {breaker.count} episodes failed ({failure.type}: {first_line(failure.message)})"
        breaker.trip()
        slot.report(chunk.worker, WorkerDied(f"{last}, and those of other workers did not"))


async def _call(worker: Worker, job: WorkerJob) -> Mapping[str, int]:
    return await worker.call(job)


def _workers_failure(summary: Trajectory) -> Failure | None:
    """The failure of an episode if its worker may be to blame."""
    failure = summary.outcome.failure
    is_workers = failure is not None and is_owed(summary) and failure.cause not in (Cause.SETUP, Cause.BUG)
    return failure if is_workers else None


def _killed_workers(death: Exception) -> Failure:
    return Failure(Boundary.ENVIRONMENT.value, KILLS_WORKERS, first_line(death), Cause.INFRASTRUCTURE)
