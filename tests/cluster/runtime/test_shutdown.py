"""SIGTERM and SIGHUP end a process as Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from cluster.runtime.shutdown import STOP_SIGNALS, stopped_by_signals


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Signals work, also where a shell started the tests in the background or under ``nohup``."""
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("in_background", [False, True])
def test_a_signal_raises_keyboard_interrupt_also_where_ctrl_c_is_ignored(
    number: signal.Signals, in_background: bool
) -> None:
    if in_background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_in_an_event_loop_the_main_task_is_cancelled_and_cleans_up(number: signal.Signals) -> None:
    cleaned = []

    async def main() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        asyncio.run(main())
    assert cleaned == [True]


def test_a_process_under_nohup_keeps_ignoring_the_end_of_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
