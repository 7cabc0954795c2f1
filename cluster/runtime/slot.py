"""One place of a pool: starts a worker, watches it, and puts a new one in its place when it dies.

    start ──▶ load the newest weights ──▶ ready ──▶ died ──▶ stop ──▶ start again, or retired

A worker that does not answer in time counts as dead, whatever it was asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from cluster.config.failures import UNLIMITED, WorkerPolicy
from cluster.runtime.worker import DEATHS, Worker, WorkerDied
from rollout.concurrency import with_timeout
from rollout.errors import UserError
from rollout.messages import first_line

T = TypeVar("T")
Weights = tuple[str, int]
"""Folder and version of a checkpoint."""
MAX_PAUSE_S = 60.0
_PINGS_PER_TIMEOUT = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """A sentence about a worker, to be shown and recorded.

    Attributes:
        kind: what a worker reported when it started, that it is started again, or that it no longer is.
    """

    kind: Literal["note", "restart", "retired"]
    text: str


class SlotOwner(Protocol):
    """The pool, as its slots see it."""

    name: str
    weights: Weights | None

    def on_ready(self, slot: Slot) -> None:
        """A worker can take requests."""

    def on_death(self, slot: Slot, death: Exception) -> None:
        """A ready worker died; what it owes must be requested from others."""

    def on_event(self, event: PoolEvent) -> None:
        """Something is to be shown."""


class RestartBudget:
    """Counts the deaths of a worker within the time window of its policy."""

    def __init__(self, policy: WorkerPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._deaths: deque[float] = deque()

    @property
    def deaths(self) -> int:
        """Number of deaths in the window."""
        while self._deaths and self._clock() - self._deaths[0] > self._policy.restart_window_s:
            self._deaths.popleft()
        return len(self._deaths)

    @property
    def is_spent(self) -> bool:
        """Whether the worker may not be started again."""
        return self._policy.max_restarts != UNLIMITED and self.deaths > self._policy.max_restarts

    def record(self) -> None:
        """Count a death."""
        self._deaths.append(self._clock())

    def refund(self) -> None:
        """Take back the newest death: something else than the worker explains it."""
        if self._deaths:
            self._deaths.pop()


class Slot:
    """One place of a pool.

    Attributes:
        name: for messages.
        worker: the worker that is ready; None while one starts, and once the slot is retired.
        owed: number of episodes that the worker was given and has not delivered.
        error: why no worker is started any more.
    """

    def __init__(self, number: int, spawn: Callable[[], Worker], policy: WorkerPolicy, owner: SlotOwner) -> None:
        self.name = f"worker {number + 1} of the {owner.name} pool"
        self.worker: Worker | None = None
        self.owed = 0
        self.error: Exception | None = None
        self._spawn = spawn
        self._policy = policy
        self._owner = owner
        self.budget = RestartBudget(policy)
        self._version: int | None = None
        self._spawned: Worker | None = None
        self._died: asyncio.Future[Exception]
        self._was_ready = False
        self._idle_deaths = 0
        """Deaths since the last episode was completed."""

    async def run(self) -> None:
        """Keep a worker here until it has died too often, which sets ``error``.

        Raises:
            UserError: the first worker cannot start with its settings. Later ones count as dead, because the settings
                have worked.
        """
        while True:
            death = await self._live()
            if self.budget.is_spent:
                self.error = death
                self._emit("retired", f"{self.name} died {times(self.budget.deaths)} and is not started again: {death}")
                return
            limit = "" if self._policy.max_restarts == UNLIMITED else f" of at most {self._policy.max_restarts}"
            again = f"{self.name} died and is started again (restart {self.budget.deaths}{limit})"
            self._emit("restart", f"{again}: {first_line(death)}")
            await asyncio.sleep(self._pause_s())

    def report(self, worker: Worker, death: Exception) -> None:
        """Take note of the death of ``worker``, unless it was replaced already."""
        if worker is not self.worker or self._died.done():
            return
        self.worker = None
        self._record_death()
        self._owner.on_death(self, death)
        self._died.set_result(death)

    def completed(self) -> None:
        """An episode was completed here."""
        self._idle_deaths = 0

    async def ask(self, answer: Coroutine[Any, Any, T]) -> T:
        """Await an answer of the ready worker. Raises its death, also if something else notices that first."""
        worker, died, asking = self.worker, self._died, asyncio.ensure_future(answer)
        assert worker is not None, "only a ready worker is asked"
        waiting: set[asyncio.Future[Any]] = {asking, died}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise died.result()
            return asking.result()
        except DEATHS as death:
            self.report(worker, death)
            raise
        finally:
            asking.cancel()

    async def catch_up(self) -> None:
        """Give the ready worker the newest weights. A worker that dies of it is replaced by one that has them."""
        worker = self.worker
        if worker is None:
            return
        try:
            await self.ask(self._load_newest(worker))
        except DEATHS:
            return

    async def stop(self) -> None:
        """Stop the worker, also one that is still starting."""
        if self._spawned is not None:
            await self._spawned.stop()

    async def _live(self) -> Exception:
        """Start a worker and wait for its death, which is returned."""
        worker = self._spawned = self._spawn()
        self._version, self._died = None, asyncio.get_running_loop().create_future()
        limit_s = self._policy.start_timeout_s
        try:
            notes = await _limited(worker.start(), limit_s, "did not start")
            await self._load_newest(worker)
        except (*DEATHS, UserError) as error:
            if isinstance(error, UserError) and not self._was_ready:
                raise
            self._record_death()
            await self._stop_dead(worker)
            return error
        self.worker, self._was_ready = worker, True
        for note in notes:
            self._emit("note", note)
        self._owner.on_ready(self)
        watching = asyncio.create_task(self._watch(worker))
        try:
            death = await self._died
        finally:
            watching.cancel()
        await self._stop_dead(worker)
        return death

    async def _load_newest(self, worker: Worker) -> None:
        """Load weights until none are newer."""
        while (newest := self._owner.weights) is not None and newest[1] != self._version:
            limit_s = self._policy.load_timeout_s
            await _limited(worker.load_weights(*newest), limit_s, "did not load weights")
            self._version = newest[1]

    async def _watch(self, worker: Worker) -> None:
        """Ping a worker until it does not answer, for whatever reason."""
        limit_s = self._policy.heartbeat_timeout_s
        try:
            while True:
                await asyncio.sleep(limit_s / _PINGS_PER_TIMEOUT)
                await _limited(worker.ping(), limit_s, "did not answer")
        except Exception as error:
            self.report(worker, WorkerDied(str(error) or type(error).__name__))

    def _record_death(self) -> None:
        self.budget.record()
        self._idle_deaths += 1

    def _pause_s(self) -> float:
        """None after the first death, then doubled with each further one without a completed episode."""
        further = self._idle_deaths - 2
        return min(MAX_PAUSE_S, self._policy.restart_wait_s * 2.0**further) if further >= 0 else 0.0

    def _emit(self, kind: Literal["note", "restart", "retired"], text: str) -> None:
        self._owner.on_event(PoolEvent(kind, text))

    async def _stop_dead(self, worker: Worker) -> None:
        """Free what a worker still holds, so that there is room for the next one."""
        try:
            await with_timeout(2 * self._policy.stop_timeout_s, worker.stop())  # one on Ray has the limit itself
        except Exception as error:  # it is replaced whatever it answers
            _log.warning("a dead worker of %s did not stop: %s: %s", self._owner.name, type(error).__name__, error)


async def _limited(answer: Coroutine[Any, Any, T], limit_s: float, what: str) -> T:
    """Await an answer of a worker; one that is late is a death."""
    try:
        return await with_timeout(limit_s, answer)
    except TimeoutError as error:
        raise WorkerDied(f"it {what}: {error}") from error


def times(count: int) -> str:
    """The number of occurrences in words."""
    return "once" if count == 1 else f"{count} times"
