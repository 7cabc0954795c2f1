"""Errors of the sandbox itself. Errors of the code inside are returned as text for the model."""

from __future__ import annotations

from rollout.errors import AgentError, InfrastructureError


class SandboxError(InfrastructureError):
    """The sandbox does not start, or cannot start another interpreter."""


class ChannelBrokenError(Exception):
    """An interpreter has ended or sent invalid data. The message is shown to the model."""


class ChannelTimeoutError(Exception):
    """An interpreter did not answer in time."""


class ToolError(AgentError):
    """Raised by a function offered to code if the code calls it wrongly. The message is passed to the code."""
