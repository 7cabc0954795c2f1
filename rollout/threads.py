"""Calls that block, kept off the event loop, one daemon thread a call.

A call that hangs for ever costs its own thread only: it starves no pool and does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


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
