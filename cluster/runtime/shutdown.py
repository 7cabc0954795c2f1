"""Coroutines that stand or fall together, and processes that end in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import FrameType
from typing import Any


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
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


def stop_as_ctrl_c(signum: int, frame: FrameType | None) -> None:
    """A job that is stopped ends as one that is interrupted: engines are closed, what is finished is kept."""
    raise KeyboardInterrupt
