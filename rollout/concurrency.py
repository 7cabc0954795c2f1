"""Runs blocking calls outside the event loop, in a bounded number of reused threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Closable(Protocol):
    """An object that owns processes or files."""

    def close(self) -> None:
        """Release processes and files."""


class ThreadPool:
    """Daemon threads that run the blocking calls of event loops, at most ``size`` for each loop.

    A call that its caller gave up, because of a timeout or a cancellation, keeps its thread, but no longer counts.
    Calls that hang forever thus neither exhaust the pool nor keep the process from exiting. `ThreadPoolExecutor` of the
    standard library does both.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[_PoolThread] = []
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def run(
        self,
        function: Callable[..., T],
        *arguments: object,
        timeout_s: float | None = None,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Run ``function(*arguments)`` in a thread and return its result.

        Args:
            timeout_s: limit from the moment when the call starts; the wait for a free thread does not count.
            discard: called in a thread with a result that comes after the caller gave up.

        Raises:
            TimeoutError: the call has not returned in time.
            RuntimeError: the function raised `StopIteration`, or an exception that would end this process
                (`SystemExit`, `KeyboardInterrupt`).
        """
        loop = asyncio.get_running_loop()
        async with self._slots.setdefault(loop, asyncio.Semaphore(self._size)):
            answer: asyncio.Future[T] = loop.create_future()
            self._submit(_Call(function, arguments, loop, answer, discard))
            return await (answer if timeout_s is None else with_timeout(timeout_s, answer))

    def _submit(self, call: _Call) -> None:
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = _PoolThread(self._take_back)
        thread.calls.put(call)

    def _take_back(self, thread: _PoolThread) -> bool:
        """Keep a thread for later calls, if there is no lack of them."""
        is_kept = len(self._idle) < self._size
        if is_kept:
            self._idle.append(thread)
        return is_kept


class _Call:
    """A call of a function, and the future of an event loop that waits for it."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[object, ...],
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[Any],
        discard: Callable[[Any], object] | None,
    ) -> None:
        self._function, self._arguments = function, arguments
        self._loop, self._answer, self._discard = loop, answer, discard
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            # A future refuses StopIteration; the others would end the thread or the event loop.
            is_ordinary = isinstance(error, Exception) and not isinstance(error, StopIteration)
            self._error = error if is_ordinary else _as_exception(error)

    def report(self) -> None:
        """Hand the result to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:  # the loop has closed meanwhile
            self._settle_late()

    def _settle(self) -> None:
        if self._answer.done():
            self._settle_late()
        elif self._error is not None:
            self._answer.set_exception(self._error)
        else:
            self._answer.set_result(self._result)

    def _settle_late(self) -> None:
        if self._error is None and self._discard is not None:
            Thread(target=self._discard, args=(self._result,), daemon=True).start()


class _PoolThread:
    """A thread that runs one call after the other, as long as ``take_back`` accepts it."""

    def __init__(self, take_back: Callable[[_PoolThread], bool]) -> None:
        self.calls: SimpleQueue[_Call] = SimpleQueue()
        self._take_back = take_back
        Thread(target=self._work, daemon=True, name="pool").start()

    def _work(self) -> None:
        is_kept = True
        while is_kept:
            call = self.calls.get()
            call.run()
            is_kept = self._take_back(self)  # before the report, so that the next call finds an idle thread
            call.report()
            del call


def _as_exception(error: BaseException) -> RuntimeError:
    made = RuntimeError(f"the call raised {type(error).__name__}: {error}".rstrip(": "))
    made.__cause__ = error
    return made


_THREADS = ThreadPool(64)
ENVIRONMENT_THREADS = ThreadPool(256)
"""Threads for calls of environments. Others have a pool of their own, because an environment may wait for them."""


async def run_in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run ``function(*arguments)`` in a thread and return its result.

    After a cancellation of the caller, the thread continues and its result is dropped.
    """
    return await _THREADS.run(function, *arguments)


async def with_timeout(seconds: float, awaitable: Awaitable[T]) -> T:
    """Await with a time limit. Raises `TimeoutError` with a message if it expires."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def close_or_warn(environment: Closable) -> None:
    """Close an environment; if that fails, log a warning."""
    try:
        environment.close()
    except Exception as error:
        _warn(error)


async def close_in_thread(environment: Closable, timeout_s: float) -> None:
    """Close an environment in a thread; if it fails or exceeds ``timeout_s``, log a warning and abandon it."""
    try:
        await ENVIRONMENT_THREADS.run(environment.close, timeout_s=timeout_s)
    except Exception as error:
        _warn(error)


def _warn(error: Exception) -> None:
    _log.warning("an environment did not close: %s: %s", type(error).__name__, error)


async def run_all(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all concurrently. The first error cancels the others and is raised itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise root_error(errors) from None


def root_error(error: BaseException) -> BaseException:
    """First exception of a possibly nested exception group that is not a group itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
