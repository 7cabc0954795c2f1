"""Failures by cause: how many episodes they ended, and what most of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rollout.errors import Failure
from rollout.messages import first_line

MAX_FAILED_SHARE = 0.05
"""Fraction of episodes without a result above which a rate over the others is marked as incomplete."""


@dataclass(frozen=True, slots=True)
class FailureFigures:
    """Failures of episodes that are in no rate.

    Attributes:
        causes: number of failures by cause, the most frequent first.
        message: the most common type and message; empty without failures.
    """

    causes: Mapping[str, int] = field(default_factory=dict)
    message: str = ""

    @property
    def total(self) -> int:
        """Number of failures."""
        return sum(self.causes.values())

    def __str__(self) -> str:
        """``engine 5, tool 1; mostly EngineUnavailable: no answer``."""
        counts = ", ".join(f"{cause} {count}" for cause, count in self.causes.items())
        return f"{counts}; mostly {self.message}" if counts else ""


class FailureCounter:
    """Counts failures as they come, and takes those back whose episode is completed later."""

    def __init__(self, failures: Iterable[Failure] = ()) -> None:
        self._causes: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()
        for failure in failures:
            self.add(failure)

    def add(self, failure: Failure, count: int = 1) -> None:
        """Count a failure; ``count`` of -1 takes it back."""
        self._causes[failure.cause.value] += count
        self._messages[f"{failure.type}: {first_line(failure.message)}"] += count

    def figures(self) -> FailureFigures:
        """The figures now."""
        causes = sorted((+self._causes).items(), key=lambda item: (-item[1], item[0]))
        message = min((+self._messages).items(), key=lambda item: (-item[1], item[0]), default=("", 0))[0]
        return FailureFigures(dict(causes), message)


def count_failures(failures: Iterable[Failure]) -> FailureFigures:
    """Figures of failures."""
    return FailureCounter(failures).figures()
