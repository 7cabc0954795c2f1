"""What can go wrong around the interpreters; what goes wrong within them is text for the model."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox itself failed: it does not start, or cannot start another interpreter."""


class ChannelBrokenError(Exception):
    """An interpreter has gone, or has said what no honest one says. The message goes to the model."""


class ChannelTimeoutError(Exception):
    """An interpreter did not answer in time."""


class ToolError(Exception):
    """Raised by a function offered to code: the code called it wrongly. The message goes to the code."""
