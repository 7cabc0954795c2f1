"""Coroutines that stand or fall together, and processes that end in order."""

from __future__ import annotations

from types import FrameType


def stop_as_ctrl_c(signum: int, frame: FrameType | None) -> None:
    """A job that is stopped ends as one that is interrupted: engines are closed, what is finished is kept."""
    raise KeyboardInterrupt
