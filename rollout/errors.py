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


@dataclass(frozen=True, slots=True)
class Failure:
    """A recorded failure: the component, the type of the exception, and its message."""

    boundary: str
    type: str
    message: str


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
