"""Runs blocking calls outside the event loop, with one daemon thread per call.

A call that hangs forever occupies only its own thread. It does not exhaust a pool or keep the process from exiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Closable(Protocol):
    """An object that owns processes or files."""

    def close(self) -> None:
        """Release processes and files."""


async def run_in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run ``function(*arguments)`` in a new thread and return its result.

    After a timeout or a cancellation of the caller, the thread continues and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only if T allows it

    def work() -> None:
        result, failure = None, None
        try:
            result = function(*arguments)
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop may have closed meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=work, daemon=True, name=f"call-{getattr(function, '__name__', 'function')}").start()
    return await answer


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


async def close_in_thread(environment: Closable, timeout_s: float) -> None:
    """Close an environment in a thread; if it fails or exceeds ``timeout_s``, log a warning and abandon it."""
    try:
        async with asyncio.timeout(timeout_s):
            await run_in_thread(environment.close)
    except Exception as error:
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
