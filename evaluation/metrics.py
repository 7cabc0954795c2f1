"""Means per episode with 95 % intervals, and differences between two agents paired by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from evaluation.failures import MAX_FAILED_SHARE, FailureFigures, count_failures
from evaluation.records import EpisodeRecord, completed, completed_by_all
from evaluation.streaming import ExactMean

METRICS = (
    "success",
    "score",
    "steps",
    "prompt_tokens",
    "output_tokens",
    "reason_tokens",
    "invalid_action_rate",
    "seconds",
)
"""Names of the metrics; each is a field of `EpisodeRecord`."""

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
RESAMPLES = 2000
SEED = 0
"""Seed of the resampling, so that the same records give the same interval in every process."""

Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Metrics of a group of at least one episode.

    Attributes:
        n: number of completed episodes.
        means: mean per completed episode of each metric; empty without one.
        intervals: 95 % interval of each mean: Wilson's for ``success``, a bootstrap over episodes for the others; None
            for a single episode.
        failures: figures of the episodes that were not completed.
        scores: means of the environment's further scores; an episode without a score counts as 0.
    """

    n: int
    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    failures: FailureFigures
    scores: Mapping[str, float]

    @property
    def is_complete(self) -> bool:
        """Whether few enough episodes failed for a rate over the others."""
        return self.failures.total <= MAX_FAILED_SHARE * (self.n + self.failures.total)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of ``a - b`` over the tasks that both agents attempted; ``ci95`` is None for a single pair."""

    metric: str
    difference: float
    ci95: Interval | None
    n_pairs: int


def wilson_ci95(successes: int, n: int) -> Interval:
    """Return Wilson's 95 % score interval of a proportion (Wilson 1927), valid near 0 and 1 and for few episodes.

    Raises:
        ValueError: ``n`` is not positive or ``successes`` lies outside 0 to ``n``.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"no interval for {successes} successes in {n} episodes")
    share, z2 = successes / n, Z95 * Z95
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == n else center + half
    return low, high


def bootstrap_ci95(values: Floats) -> list[Interval | None]:
    """Return percentile bootstrap 95 % intervals of column means (Efron 1979). Rows are resampled with a fixed seed.

    Args:
        values: ``[n, num_columns]``, n at least 1.

    Returns:
        One interval per column; None for every column if there is a single row.
    """
    n, num_columns = values.shape
    if n < 2:
        return [None] * num_columns
    generator = np.random.default_rng(SEED)
    means = np.stack([values[generator.integers(n, size=n)].mean(axis=0) for _ in range(RESAMPLES)])
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def metric_matrix(records: Sequence[EpisodeRecord]) -> Floats:
    """Return ``[num_records, num_metrics]``, with columns in the order of `METRICS`."""
    return np.array([[float(getattr(record, metric)) for metric in METRICS] for record in records])


def summarize(records: Sequence[EpisodeRecord]) -> Summary:
    """Compute means and intervals over the completed episodes of a group, independent of their order.

    Raises:
        ValueError: there are no episodes.
    """
    if not records:
        raise ValueError("a summary needs at least one episode")
    failures = count_failures(record.failure for record in records if record.error and record.failure)
    if not (records := completed(records)):
        return Summary(0, {}, {}, failures, {})
    # Sorted, so that the bootstrap does not depend on the order of the episodes.
    values = np.array(sorted(metric_matrix(records).tolist()))
    intervals = dict(zip(METRICS, bootstrap_ci95(values), strict=True))
    intervals["success"] = wilson_ci95(sum(record.success for record in records), len(records))
    means = {metric: ExactMean(column).value for metric, column in zip(METRICS, values.T.tolist(), strict=True)}
    names = sorted({name for record in records for name in record.scores})
    scores = {name: fsum(record.scores.get(name, 0.0) for record in records) / len(records) for name in names}
    return Summary(len(records), means, intervals, failures, scores)


def paired_differences(a: Sequence[EpisodeRecord], b: Sequence[EpisodeRecord]) -> list[PairedDifference]:
    """Return the mean of ``a - b`` for every metric over common tasks, with bootstrap intervals over tasks.

    An episode that one of them did not complete is left out of both. Several attempts at a task are averaged first.
    Without a common task the list is empty.
    """
    of_a, of_b = map(task_means, completed_by_all([a, b]))
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        return []
    differences = np.stack([of_a[task] - of_b[task] for task in common])
    columns = zip(METRICS, differences.mean(axis=0).tolist(), bootstrap_ci95(differences), strict=True)
    return [PairedDifference(metric, mean, interval, len(common)) for metric, mean, interval in columns]


def task_means(records: Sequence[EpisodeRecord]) -> dict[tuple[str, str], Floats]:
    """Return the means ``[num_metrics]`` over all completed attempts at each task, by split and task id."""
    groups: dict[tuple[str, str], list[EpisodeRecord]] = defaultdict(list)
    for record in completed(records):
        groups[record.split, record.task].append(record)
    return {task: metric_matrix(group).mean(axis=0) for task, group in groups.items()}
