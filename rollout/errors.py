"""Errors: failures of an episode, attributed to a component, and errors of the user.

``boundary`` converts every exception of an environment, a tool or an engine into an `EpisodeError`. The agent loop
catches it in one place and stores it in the episode's record. Bugs in this package are raised outside of any boundary
and propagate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


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
    INFRASTRUCTURE = "infrastructure"
    """A host, node, disk, network or endpoint is dead, unreachable, out of memory or too slow."""
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


@contextmanager
def boundary(where: Boundary) -> Iterator[None]:
    """Convert any exception of the block to an `EpisodeError` of the component ``where``."""
    try:
        yield
    except EpisodeError:
        raise
    except Exception as error:
        message = str(error) or type(error).__name__
        raise EpisodeError(Failure(where.value, type(error).__name__, message)) from error
