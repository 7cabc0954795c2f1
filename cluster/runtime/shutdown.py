"""Orderly shutdown of processes that receive a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def raise_keyboard_interrupt(signum: int, frame: FrameType | None) -> None:
    """Signal handler that ends a process as Ctrl-C does: engines are closed, finished episodes are kept."""
    as_ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(as_ctrl_c):  # that of an event loop cancels its main task
        as_ctrl_c(signal.SIGINT, frame)
    else:  # a shell starts background jobs with Ctrl-C ignored
        raise KeyboardInterrupt


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """In the block, SIGTERM and SIGHUP end the process as Ctrl-C does, unless they are ignored (``nohup``)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, raise_keyboard_interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
