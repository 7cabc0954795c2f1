"""A pool of threads is bounded and reused, and a call that hangs or misbehaves does no harm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rollout.concurrency import ThreadPool
from tests.waiting import wait_in_loop

LONG_S = 60.0


async def test_threads_are_reused() -> None:
    pool = ThreadPool(8)
    assert len({await pool.run(threading.get_ident) for _ in range(50)}) == 1


async def test_no_more_calls_run_than_there_are_threads() -> None:
    pool, running, release = ThreadPool(3), [0, 0], threading.Event()
    lock = threading.Lock()

    def call() -> None:
        with lock:
            running[0] += 1
            running[1] += 1
        release.wait(LONG_S)
        with lock:
            running[0] -= 1

    calls = [asyncio.ensure_future(pool.run(call)) for _ in range(10)]
    await wait_in_loop(lambda: running[0] == 3, "three calls")
    await asyncio.sleep(0.05)
    assert running == [3, 3]
    release.set()
    await asyncio.gather(*calls)
    assert running == [0, 10]


async def test_a_call_that_was_given_up_takes_no_place() -> None:
    pool, release = ThreadPool(1), threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            await pool.run(release.wait, LONG_S, timeout_s=0.05)
    hanging = asyncio.ensure_future(pool.run(release.wait, LONG_S))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await pool.run(lambda: "free") == "free"
    release.set()


async def test_the_wait_for_a_thread_does_not_count_against_the_limit() -> None:
    pool, release = ThreadPool(1), threading.Event()
    first = asyncio.ensure_future(pool.run(release.wait, LONG_S))
    second = asyncio.ensure_future(pool.run(lambda: "late", timeout_s=0.2))
    await asyncio.sleep(0.4)
    release.set()
    assert await first
    assert await second == "late"


async def test_a_result_that_nobody_waits_for_is_discarded() -> None:
    pool, release, discarded = ThreadPool(1), threading.Event(), list[bool]()
    with pytest.raises(TimeoutError):
        await pool.run(release.wait, LONG_S, timeout_s=0.05, discard=discarded.append)
    release.set()
    await wait_in_loop(lambda: discarded == [True], "the late result")


@pytest.mark.parametrize("error", [StopIteration("over"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_an_exception_that_would_end_the_loop_is_an_ordinary_one(error: BaseException) -> None:
    def call() -> None:
        raise error

    with pytest.raises(RuntimeError, match=f"the call raised {type(error).__name__}") as caught:
        await ThreadPool(1).run(call)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyError("moon"), TimeoutError("its own")])
async def test_other_exceptions_are_raised_as_they_are(error: Exception) -> None:
    def call() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await ThreadPool(1).run(call, timeout_s=LONG_S)
    assert caught.value is error


async def test_a_loop_that_has_closed_takes_no_result() -> None:
    pool, release, discarded = ThreadPool(1), threading.Event(), list[bool]()

    def abandoned(discard: Callable[[Any], object]) -> None:
        async def give_up() -> None:
            await pool.run(release.wait, LONG_S, timeout_s=0.01, discard=discard)

        with pytest.raises(TimeoutError):
            asyncio.run(give_up())

    await asyncio.to_thread(abandoned, discarded.append)
    release.set()
    await wait_in_loop(lambda: discarded, "the late result")
