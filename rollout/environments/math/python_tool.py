"""``python[…]`` in an isolated interpreter, one an episode."""

from __future__ import annotations

from copy import copy

from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.session import CallResult, Session
from rollout.tools.sandbox.tiers import shared_sandbox


class SandboxRunner:
    """A `rollout.environments.math.environment.CodeRunner`; an interpreter starts with the first code of an episode.

    Raises:
        UserError: no sandbox of these settings works on this machine.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self._sandbox = shared_sandbox(config)
        self._session: Session | None = None

    def run(self, code: str) -> str:
        """What the code printed, the value of its last expression, and its error, a line each.

        Raises:
            SandboxError: no interpreter can be started.
        """
        if self._session is None:
            self._session = self._sandbox.session()
        return _text(self._session.run(code))

    def fork(self) -> SandboxRunner:
        """A copy of the interpreter, if there is one. Raises `SandboxError` if it cannot be copied."""
        twin = copy(self)
        twin._session = self._session and self._session.fork()
        return twin

    def close(self) -> None:
        """End the interpreter, if there is one."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _text(result: CallResult) -> str:
    parts = (result.stdout.strip(), result.value, result.error)
    return "\n".join(part for part in parts if part)
