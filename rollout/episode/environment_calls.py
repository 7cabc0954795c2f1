"""Calls of environments by episodes: in threads, with a limit on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rollout.concurrency import ENVIRONMENT_THREADS, close_or_warn
from rollout.environment import Environment

T = TypeVar("T")


async def create_environment(create: Callable[[], Environment], timeout_s: float) -> Environment:
    """Create an environment. One that comes after the limit is closed.

    Raises:
        TimeoutError: it takes longer than ``timeout_s``.
        Exception: any exception of ``create``.
    """
    return await ENVIRONMENT_THREADS.run(create, timeout_s=timeout_s, discard=close_or_warn)


async def call_environment(environment: Environment, call: Callable[[Environment], T], timeout_s: float) -> T:
    """Call an environment. After the limit the call runs on, and the environment must not be used again.

    Raises:
        TimeoutError: the call takes longer than ``timeout_s``.
        Exception: any exception of the call.
    """
    return await ENVIRONMENT_THREADS.run(call, environment, timeout_s=timeout_s)
