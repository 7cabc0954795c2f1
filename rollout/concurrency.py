"""Calls that block, kept off the event loop, one daemon thread a call.

A call that hangs for ever costs its own thread only: it starves no pool and does not keep the process from ending.
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
    """Something that holds processes or files."""

    def close(self) -> None:
        """Release them."""
        ...


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """The result of ``function(*arguments)``, computed in a thread of its own.

    A caller that stops waiting (a timeout, a cancellation) leaves the thread running; its result is then dropped.
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


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Its result. Raises `TimeoutError` with a sentence if there is none in time."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from error


async def close_in_thread(environment: Closable, timeout_s: float) -> None:
    """Close an environment; one that fails to, or not within ``timeout_s``, is left behind and named in the log."""
    try:
        async with asyncio.timeout(timeout_s):
            await in_thread(environment.close)
    except Exception as error:
        _log.warning("an environment did not close: %s: %s", type(error).__name__, error)


async def run_all(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all at the same time. The first error cancels the others and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise root_error(errors) from None


def root_error(error: BaseException) -> BaseException:
    """The first single error of a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
