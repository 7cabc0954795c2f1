"""Runs ``python[…]`` in an isolated interpreter, one per episode."""

from __future__ import annotations

from copy import copy

from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.session import CallResult, Session
from rollout.tools.sandbox.tiers import shared_sandbox


class SandboxRunner:
    """A `rollout.environments.math.environment.CodeRunner`; the interpreter starts with the first code of an episode.

    Raises:
        UserError: no sandbox of these settings works on this machine.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self._sandbox = shared_sandbox(config)
        self._session: Session | None = None

    def run(self, code: str) -> str:
        """Return the printed output, the value of the last expression, and the error, each on its own line.

        Raises:
            SandboxError: the interpreter cannot be started.
        """
        if self._session is None:
            self._session = self._sandbox.session()
        return _text(self._session.run(code))

    def fork(self) -> SandboxRunner:
        """Copy the runner and its interpreter, if one is running. Raises `SandboxError` if it cannot be copied."""
        clone = copy(self)
        clone._session = self._session and self._session.fork()
        return clone

    def close(self) -> None:
        """Stop the interpreter, if one is running."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _text(result: CallResult) -> str:
    parts = (result.stdout.strip(), result.value, result.error)
    return "\n".join(part for part in parts if part)
