"""Errors: failures of an episode, attributed to a component and a cause, and errors of the user.

``boundary`` converts every exception of an environment, a tool or an engine into an `EpisodeError`. The agent loop
catches it in one place and records it. Bugs in this package are raised outside of any boundary and propagate.

`cause_of` decides whether a failure counts as a result. Environments, tools and engines of other packages raise
`AgentError`, `InfrastructureError`, `EngineUnavailable`, `EngineDied` or `SetupError` to decide it themselves.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from subprocess import CalledProcessError, TimeoutExpired


class Boundary(StrEnum):
    """The external components of an episode."""

    ENVIRONMENT = "environment"
    TOOL = "tool"
    ENGINE = "engine"
    PARSER = "parser"


class Cause(StrEnum):
    """Who is responsible for a failure. Only a failure of the agent is a result; all others are retried."""

    AGENT = "agent"
    """The agent's input made an environment or a tool fail, as declared by it or reproduced on a fresh replay."""
    ENVIRONMENT = "environment"
    TOOL = "tool"
    ENGINE = "engine"
    """An engine or its endpoint is dead, unreachable, overloaded or too slow, or its answer cannot be used."""
    INFRASTRUCTURE = "infrastructure"
    """An environment, tool, host, disk or network is dead, unreachable, out of memory or too slow."""
    SETUP = "setup"
    """A setting, key or installation is wrong."""
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Failure:
    """A recorded failure: the component, the type of the exception, its message, and who is responsible."""

    boundary: str
    type: str
    message: str
    cause: Cause = Cause.INFRASTRUCTURE

    @property
    def is_result(self) -> bool:
        """Whether the failure counts as a result of the agent."""
        return self.cause is Cause.AGENT


class EpisodeError(Exception):
    """Failure of an external component. ``failure`` is stored in the episode's record."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.boundary}: {failure.type}: {failure.message}")
        self.failure = failure

    def __reduce__(self) -> tuple[type[EpisodeError], tuple[Failure]]:
        return type(self), (self.failure,)


class UserError(Exception):
    """Bad input from a user: one sentence that states the problem and how to fix it. Printed without a traceback."""

    exit_code = 2


class SetupError(UserError):
    """An engine, tool or environment refuses a key, a model name or a setting. Trying again does not help."""


class AgentError(Exception):
    """Raised by an environment or a tool that fails because of the agent's input. The failure is a result.

    An environment should answer with an observation where it can; this error ends the episode without success.
    """


class InfrastructureError(Exception):
    """Raised by an environment or a tool whose process, service or host is dead, unreachable, or out of resources."""


class EngineUnavailable(Exception):
    """An engine or endpoint is unreachable, overloaded (429) or failing (5xx), after its own retries."""


class EngineDied(EngineUnavailable):
    """An engine cannot answer any further request and must be started again. Not converted by `boundary`."""


_FILE_NAME_ERRORS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_FILE_NAME_CODES = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP})
_INFRASTRUCTURE = (InfrastructureError, OSError, EOFError, MemoryError, BrokenExecutor, TimeoutExpired)
_INFRASTRUCTURE_NAME = re.compile(
    "Connect(ion)?(Error|Exception|Closed|Lost)|Timeout|TIMEOUT|TimedOut|Unavailable|Unreachable|Disconnect"
    "|NetworkError|TransportError|OutOfMemory|EOF"
    "|(Process|Server|Service|Worker|Actor|Node|Target|Session)(Died|Dead|Killed|Crashed|Closed|Lost)"
)
"""Classes of other packages (httpx, aiohttp, Ray, Playwright, torch, ...), which have no common base."""


def cause_of(error: BaseException, where: Boundary) -> Cause:
    """Who is responsible for an exception of the component ``where``.

    ENVIRONMENT and TOOL are provisional: such a failure becomes AGENT if a fresh replay of the episode's actions
    reproduces it (`rollout.episode.replay`). No other failure is replayed.
    """
    if isinstance(error, EpisodeError):
        return error.failure.cause
    if isinstance(error, UserError):
        return Cause.SETUP
    if where is Boundary.ENGINE:
        return Cause.SETUP if isinstance(error, NotImplementedError) else Cause.ENGINE
    if isinstance(error, AgentError) or where is Boundary.PARSER:
        return Cause.AGENT
    if any(map(_is_infrastructure, _chain(error))):
        return Cause.INFRASTRUCTURE
    return Cause.TOOL if where is Boundary.TOOL else Cause.ENVIRONMENT


def _is_infrastructure(error: BaseException) -> bool:
    """Whether a process, service or host is dead, unreachable, too slow or out of resources.

    An `OSError` says so, unless it is about the name of a file, which may come from the agent; so does the exit of a
    child process by a signal.
    """
    if isinstance(error, _FILE_NAME_ERRORS) or (isinstance(error, OSError) and error.errno in _FILE_NAME_CODES):
        return False
    if isinstance(error, CalledProcessError):
        return error.returncode < 0
    names = (kind.__name__ for kind in type(error).__mro__)
    return isinstance(error, _INFRASTRUCTURE) or any(map(_INFRASTRUCTURE_NAME.search, names))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was explicitly raised from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def failure_of(error: BaseException, where: Boundary) -> Failure:
    """The record of an exception of the component ``where``."""
    message = str(error) or type(error).__name__
    return Failure(where.value, type(error).__name__, message, cause_of(error, where))


@contextmanager
def boundary(where: Boundary) -> Iterator[None]:
    """Convert any exception of the block to an `EpisodeError` of the component ``where``, except `EngineDied`."""
    try:
        yield
    except (EpisodeError, EngineDied):
        raise
    except Exception as error:
        raise EpisodeError(failure_of(error, where)) from error
