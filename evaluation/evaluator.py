"""Running figures of a run: an `Evaluator` consumes completed episodes as they stream in and returns snapshots.

Episodes may arrive in any order and more than once; an episode that failed may be completed later. After the last one,
the figures of a snapshot equal those that `evaluation.report.build_report` computes from the stored episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evaluation.failures import FailureCounter, FailureFigures
from evaluation.metrics import METRICS, Interval, wilson_ci95
from evaluation.records import RECORD_COLUMNS, episode_record, metric_columns
from evaluation.streaming import BusyTime, ExactMean
from rollout.trajectory import Key, Trajectory, is_owed

STORED_COLUMNS = (*RECORD_COLUMNS, "started_unix_s")
"""Columns of stored episodes that `Evaluator.restore` needs."""


@dataclass(frozen=True, slots=True)
class CompletedEpisode:
    """An episode that has ended: it is stored, or a failure ended it and it is owed (`rollout.trajectory.is_owed`).

    Attributes:
        step: name of the step of the run that it belongs to (``collect/teacher/0``, ``evaluate/student``).
        summary: its record; the segments are not read and may be empty.
    """

    step: str
    summary: Trajectory


@dataclass(frozen=True, slots=True)
class TaskTypeFigures:
    """Success rate over the ``n`` episodes of one task type, with its Wilson 95 % interval."""

    n: int
    success: float
    success_ci95: Interval


@dataclass(frozen=True, slots=True)
class EnvironmentFigures:
    """Figures of one step in one environment so far.

    Attributes:
        n: completed episodes.
        expected: number of episodes that the step will have; 0 if it is not known.
        means: mean per episode of each metric in `evaluation.metrics.METRICS`; empty without episodes.
        success_ci95: Wilson 95 % interval of the success rate; None without episodes.
        invalid_actions: total number of actions that the environment rejected.
        failures: figures of the episodes that were not completed. They are in no other figure.
        task_types: figures by task type; empty if the environment has no types.
        episodes_per_second: over the wall clock in which at least one episode ran; None if that is zero.
    """

    n: int
    expected: int
    means: Mapping[str, float]
    success_ci95: Interval | None
    invalid_actions: int
    failures: FailureFigures
    task_types: Mapping[str, TaskTypeFigures]
    episodes_per_second: float | None

    @property
    def errors(self) -> int:
        """Number of episodes that were not completed."""
        return self.failures.total


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Progress of one step over all its environments.

    Attributes:
        n, expected: sums over the environments.
        failures: figures of the episodes that were not completed, over all environments.
        success: success rate; None without episodes.
        output_tokens: total number of tokens that the model generated.
        episodes_per_second, output_tokens_per_second: over the wall clock in which at least one episode ran, so pauses
            between two starts of a run do not count; None if that is zero.
        environments: figures by environment.
    """

    n: int = 0
    expected: int = 0
    success: float | None = None
    failures: FailureFigures = field(default_factory=FailureFigures)
    output_tokens: int = 0
    episodes_per_second: float | None = None
    output_tokens_per_second: float | None = None
    environments: Mapping[str, EnvironmentFigures] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Number of episodes that were not completed."""
        return self.failures.total

    @property
    def is_complete(self) -> bool:
        """Whether all expected episodes have ended; False if their number is not known."""
        return 0 < self.expected <= self.n


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures of all steps at one moment, by name; steps in the order of ``expected``, then of their first episode."""

    steps: Mapping[str, StepFigures]

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts of JSON types (intervals are pairs)."""
        return asdict(self)


class Evaluator:
    """Counts completed episodes. The cost of an update does not depend on how many came before."""

    def __init__(self, expected: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """``expected`` is the number of episodes of each step in each environment; None if it is not known."""
        self._seen: set[int] = set()
        """Hashes, which take a fourth of the memory of keys. If two were equal (odds of 1 in 10 million for a million
        episodes), one episode would be missing on the screen. The report counts the stored episodes themselves."""
        self._failed: dict[tuple[str, Key], Trajectory] = {}
        """Episodes that were not completed so far."""
        self._steps: dict[str, _Step] = {step: _Step(counts) for step, counts in (expected or {}).items()}
        self._figures = {name: step.figures() for name, step in self._steps.items()}
        self._changed: set[str] = set()
        """Steps whose figures are not those of the last snapshot."""

    @classmethod
    def resume(
        cls, expected: Mapping[str, Mapping[str, int]] | None, stored: Mapping[str, Iterable[Trajectory]]
    ) -> Evaluator:
        """Rebuild the state of an earlier start of the run.

        Args:
            expected: as for the constructor.
            stored: the episodes in the store of each step, such as `TrajectoryStore.summaries`; each is read once.
        """
        evaluator = cls(expected)
        for step, summaries in stored.items():
            for summary in summaries:
                evaluator.add(CompletedEpisode(step, summary))
        return evaluator

    def restore(self, step: str, stored: pa.Table) -> None:
        """Count completed episodes of an earlier start of the run, as a table with `STORED_COLUMNS`.

        They must not come again, in a table or as episodes.
        """
        self._steps.setdefault(step, _Step({})).add_table(stored)
        self._changed.add(step)

    def update(self, episode: CompletedEpisode) -> Snapshot:
        """Count one episode, unless its key was counted in its step already; returns the figures after it."""
        self.add(episode)
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The figures now. Later updates do not change it."""
        for name in self._changed:
            self._figures[name] = self._steps[name].figures()
        self._changed.clear()
        return Snapshot(dict(self._figures))

    def add(self, episode: CompletedEpisode) -> None:
        """Like `update`, without the cost of a snapshot."""
        key = episode.step, episode.summary.key
        if hash(key) in self._seen:
            return
        step = self._steps.setdefault(episode.step, _Step({}))
        if before := self._failed.pop(key, None):
            step.count_failure(before, -1)
        if is_owed(episode.summary):
            self._failed[key] = episode.summary
            step.count_failure(episode.summary, 1)
        else:
            self._seen.add(hash(key))
            step.add(episode.summary)
        self._changed.add(episode.step)


class _Step:
    """Accumulators of one step."""

    def __init__(self, expected: Mapping[str, int]) -> None:
        self._environments = {name: _Environment(count) for name, count in expected.items()}
        self._successes = self._output_tokens = 0
        self._failures = FailureCounter()
        self._busy = BusyTime()

    def count_failure(self, summary: Trajectory, count: int) -> None:
        if failure := summary.outcome.failure:
            self._failures.add(failure, count)
            self._environment(summary).failures.add(failure, count)

    def _environment(self, summary: Trajectory) -> _Environment:
        return self._environments.setdefault(summary.identity.environment, _Environment(0))

    def add(self, summary: Trajectory) -> None:
        self._environment(summary).add(summary)
        self._successes += summary.outcome.success
        self._output_tokens += summary.counts.output_tokens
        self._busy.add(*_interval_s(summary))

    def add_table(self, stored: pa.Table) -> None:
        names = stored["environment"]
        for name in pc.unique(names).to_pylist():
            environment = self._environments.setdefault(name, _Environment(0))
            environment.add_table(stored.filter(pc.equal(names, name)))
        self._successes += pc.sum(stored["success"]).as_py() or 0
        self._output_tokens += pc.sum(stored["output_tokens"]).as_py() or 0
        self._busy.add_all(*_intervals_s(stored))

    def figures(self) -> StepFigures:
        environments = {name: environment.figures() for name, environment in sorted(self._environments.items())}
        n = sum(environment.n for environment in environments.values())
        return StepFigures(
            n=n,
            expected=sum(environment.expected for environment in environments.values()),
            success=self._successes / n if n else None,
            failures=self._failures.figures(),
            output_tokens=self._output_tokens,
            episodes_per_second=_rate(n, self._busy),
            output_tokens_per_second=_rate(self._output_tokens, self._busy),
            environments=environments,
        )


class _Environment:
    """Accumulators of one step in one environment."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._n = self._successes = self._invalid_actions = 0
        self._means = {metric: ExactMean() for metric in METRICS}
        self.failures = FailureCounter()
        self._type_sizes: Counter[str] = Counter()
        self._type_successes: Counter[str] = Counter()
        self._busy = BusyTime()

    def add(self, summary: Trajectory) -> None:
        record = episode_record(summary)
        self._n += 1
        self._successes += record.success
        self._invalid_actions += summary.counts.invalid_actions
        for metric, mean in self._means.items():
            mean.add(getattr(record, metric))
        if record.task_type:
            self._type_sizes[record.task_type] += 1
            self._type_successes[record.task_type] += record.success
        self._busy.add(*_interval_s(summary))

    def add_table(self, stored: pa.Table) -> None:
        """Add at least one episode."""
        self._n += stored.num_rows
        self._successes += pc.sum(stored["success"]).as_py()
        self._invalid_actions += pc.sum(stored["invalid_actions"]).as_py()
        values = metric_columns(stored)
        for metric, mean in self._means.items():
            mean.add_all(values[metric])
        types = stored.filter(pc.not_equal(stored["task_type"], "")).group_by("task_type")
        for row in types.aggregate([("success", "count"), ("success", "sum")]).to_pylist():
            self._type_sizes[row["task_type"]] += row["success_count"]
            self._type_successes[row["task_type"]] += row["success_sum"]
        self._busy.add_all(*_intervals_s(stored))

    def figures(self) -> EnvironmentFigures:
        types = {name: (self._type_successes[name], n) for name, n in sorted(self._type_sizes.items())}
        return EnvironmentFigures(
            n=self._n,
            expected=self._expected,
            means={metric: mean.value for metric, mean in self._means.items()} if self._n else {},
            success_ci95=wilson_ci95(self._successes, self._n) if self._n else None,
            invalid_actions=self._invalid_actions,
            failures=self.failures.figures(),
            task_types={name: TaskTypeFigures(n, won / n, wilson_ci95(won, n)) for name, (won, n) in types.items()},
            episodes_per_second=_rate(self._n, self._busy),
        )


def _interval_s(summary: Trajectory) -> tuple[float, float]:
    """Start and end of an episode in Unix seconds."""
    return summary.times.started_unix_s, summary.times.started_unix_s + summary.times.total_s


def _intervals_s(stored: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    starts_s = stored["started_unix_s"].to_numpy()
    return starts_s, starts_s + stored["total_s"].to_numpy()


def _rate(count: int, busy: BusyTime) -> float | None:
    return count / busy.seconds if busy.seconds > 0.0 else None
