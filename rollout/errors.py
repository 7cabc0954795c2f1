"""What can go wrong in an episode, named by the boundary it comes from.

A bad rollout is data: ``boundary`` turns whatever escapes from the world's side (an environment, a tool, an engine)
into an `EpisodeError`; the episode loop catches that in one place and stores it on the record. Bugs of our own are
raised outside any boundary and propagate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Boundary(StrEnum):
    """The parts of the outside world that an episode touches."""

    ENVIRONMENT = "environment"
    TOOL = "tool"
    ENGINE = "engine"
    PARSER = "parser"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, typed by the boundary it came from (see ``rollout.errors``)."""

    boundary: str
    type: str
    message: str


class EpisodeError(Exception):
    """Something failed beyond a boundary. ``failure`` is what the record keeps."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.boundary}: {failure.type}: {failure.message}")
        self.failure = failure

    def __reduce__(self) -> tuple[type[EpisodeError], tuple[Failure]]:
        return type(self), (self.failure,)


class UserError(Exception):
    """Bad input from a user: one sentence that says what is wrong and how to mend it. Printed without a traceback."""


@contextmanager
def boundary(where: Boundary) -> Iterator[None]:
    """Attribute any exception that escapes the block to ``where``."""
    try:
        yield
    except EpisodeError:
        raise
    except Exception as error:
        message = str(error) or type(error).__name__
        raise EpisodeError(Failure(where.value, type(error).__name__, message)) from error
