"""Waiting for a state that other processes, threads or tasks bring about. How long that takes is never asserted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TIMEOUT_S = 120.0
"""Far above what a busy machine needs: only a state that never comes ends here."""


def wait_until(predicate: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S, poll_s: float = 0.02) -> None:
    """Return once ``predicate`` holds.

    Raises:
        AssertionError: it did not hold within ``timeout_s``; says ``what`` was waited for.
    """
    deadline_s = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(poll_s)


async def wait_in_loop(predicate: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """`wait_until` for a state that tasks of the running event loop bring about."""
    deadline_s = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain for {what}"
        await asyncio.sleep(0.001)
