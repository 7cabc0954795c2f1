"""Orderly shutdown of processes that receive a signal."""

from __future__ import annotations

from types import FrameType


def raise_keyboard_interrupt(signum: int, frame: FrameType | None) -> None:
    """Signal handler that ends a process as Ctrl-C does: engines are closed, finished episodes are kept."""
    raise KeyboardInterrupt
