"""Statistics over runs with different seeds: means, two-level intervals, and tests of an expected order of arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from evaluation.metrics import (
    METRICS,
    RESAMPLES,
    SEED,
    Floats,
    Interval,
    PairedDifference,
    task_means,
    wilson_ci95,
)
from evaluation.records import EpisodeRecord, completed, completed_by_all

FIGURES = ("success", "score", "steps", "prompt_tokens", "output_tokens", "invalid_action_rate")
"""Metrics that a study reports. Times are excluded, because they depend on the load of the machine."""

BySeed = Mapping[int, Sequence[EpisodeRecord]]
"""Episodes of one agent in one environment, by the seed of the run."""

Verdict = Literal["shown", "same direction, not significant", "not shown"]

_COLUMNS = [METRICS.index(figure) for figure in FIGURES]
_SUCCESS = FIGURES.index("success")


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """Statistics of one arm of a study in one environment.

    Attributes:
        n: number of completed episodes over all seeds.
        errors: number of episodes that were not completed.
        seeds: number of seeds with episodes.
        means: for each figure, the mean over seeds of the means over tasks.
        success_ci95: 95 % interval of success over seeds and tasks; None for a single task.
    """

    n: int
    seeds: int
    means: Mapping[str, float]
    success_ci95: Interval | None
    errors: int = 0


@dataclass(frozen=True, slots=True)
class OrderStep:
    """Comparison of two adjacent arms of an expected order.

    Attributes:
        worse, better: the arms, as expected.
        difference: success of ``better`` minus ``worse``; None if they have no common task.
        verdict: whether the data show that ``better`` succeeds more often.
        sentence: the verdict with its figures, for people.
    """

    worse: str
    better: str
    difference: PairedDifference | None
    verdict: Verdict
    sentence: str


def two_level_ci95(groups: Sequence[Floats]) -> list[Interval | None]:
    """Return two-level bootstrap intervals of column means: resample seeds, then tasks within each resampled seed.

    With one seed it is a bootstrap over tasks. Source: Davison and Hinkley 1997, section 3.8, on hierarchical data.

    Args:
        groups: one array ``[num_tasks, num_columns]`` per seed, none of them empty.

    Returns:
        One 95 % interval per column; None for every column if there is a single row in total.
    """
    num_columns = groups[0].shape[1]
    if sum(len(values) for values in groups) < 2:
        return [None] * num_columns
    generator = np.random.default_rng(SEED)
    means = np.zeros((RESAMPLES, num_columns))
    for _ in groups:
        drawn = generator.integers(len(groups), size=RESAMPLES)
        for number, values in enumerate(groups):
            resamples = np.flatnonzero(drawn == number)
            tasks = generator.integers(len(values), size=(len(resamples), len(values)))
            means[resamples] += np.stack([column[tasks].mean(axis=1) for column in values.T], axis=1)
    low, high = np.quantile(means / len(groups), (0.025, 0.975), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def arm_figures(episodes: BySeed) -> ArmFigures:
    """Compute the statistics of one arm. Several attempts at a task are averaged first.

    If all episodes succeed or all fail, the bootstrap has no spread, so the interval of success is Wilson's over tasks.

    Raises:
        ValueError: no episode was completed.
    """
    groups = [_figures(records) for _, records in sorted(episodes.items()) if completed(records)]
    if not groups:
        raise ValueError("an arm needs at least one completed episode")
    means = np.stack([np.stack(list(group.values())).mean(axis=0) for group in groups]).mean(axis=0).tolist()
    success = means[_SUCCESS]
    tasks = sum(len(group) for group in groups)
    if success in (0.0, 1.0):
        interval: Interval | None = wilson_ci95(round(success) * tasks, tasks)
    else:
        interval = two_level_ci95([np.stack(list(group.values())) for group in groups])[_SUCCESS]
    total, n = (sum(map(len, counted)) for counted in (episodes.values(), map(completed, episodes.values())))
    return ArmFigures(n, len(groups), dict(zip(FIGURES, means, strict=True)), interval, total - n)


def study_differences(a: BySeed, b: BySeed) -> list[PairedDifference]:
    """Return the mean of ``a - b`` for each figure over the common pairs (seed, task). Seeds have equal weight.

    An episode that one of them did not complete is left out of both. Without a common pair the list is empty.
    """
    groups = []
    for seed in sorted(a.keys() & b.keys()):
        of_a, of_b = map(_figures, completed_by_all([a[seed], b[seed]]))
        if common := sorted(of_a.keys() & of_b.keys()):
            groups.append(np.stack([of_a[task] - of_b[task] for task in common]))
    if not groups:
        return []
    means = np.stack([group.mean(axis=0) for group in groups]).mean(axis=0).tolist()
    pairs = sum(len(group) for group in groups)
    intervals = two_level_ci95(groups)
    return [
        PairedDifference(figure, mean, interval, pairs)
        for figure, mean, interval in zip(FIGURES, means, intervals, strict=True)
    ]


def order_steps(order: Sequence[str], arms: Mapping[str, BySeed]) -> list[OrderStep]:
    """Test whether each arm of ``order`` has a higher success rate than the one before it.

    Args:
        order: arms from the expected worst to the expected best.
        arms: episodes by arm; the steps of a missing arm are "not shown".
    """
    return [_step(worse, better, arms) for worse, better in pairwise(order)]


def _step(worse: str, better: str, arms: Mapping[str, BySeed]) -> OrderStep:
    differences = study_differences(arms.get(better, {}), arms.get(worse, {}))
    if not differences:
        missing = " and ".join(arm for arm in (worse, better) if not any(arms.get(arm, {}).values()))
        why = f"there are no episodes of {missing}" if missing else "they have no task of a seed in common"
        return OrderStep(worse, better, None, "not shown", f"{worse} < {better}: not shown: {why}")
    difference = differences[_SUCCESS]
    verdict = verdict_of(difference)
    return OrderStep(
        worse, better, difference, verdict, f"{worse} < {better}: {verdict}: {_describe(better, difference)}"
    )


def verdict_of(difference: PairedDifference) -> Verdict:
    """Judge a difference that is expected to be positive: "shown" only if its interval excludes zero."""
    if difference.difference <= 0:
        return "not shown"
    if difference.ci95 is None or difference.ci95[0] <= 0:
        return "same direction, not significant"
    return "shown"


def format_points(difference: PairedDifference) -> str:
    """Format a difference of rates in percentage points with its interval: ``+4.5 points [+1.0, +8.0]``."""
    interval = "" if difference.ci95 is None else f" [{', '.join(f'{100 * bound:+.1f}' for bound in difference.ci95)}]"
    return f"{100 * difference.difference:+.1f} points{interval}"


def _describe(better: str, difference: PairedDifference) -> str:
    if difference.difference == 0:
        return f"both succeed equally often ({format_points(difference)}, {difference.n_pairs:,} pairs)"
    side = "ahead" if difference.difference > 0 else "behind"
    return f"{better} is {side} by {format_points(difference)} over {difference.n_pairs:,} pairs"


def _figures(records: Sequence[EpisodeRecord]) -> dict[tuple[str, str], Floats]:
    """Return ``[num_figures]`` by split and task, sorted, so that the order of the records has no effect."""
    return {task: means[_COLUMNS] for task, means in sorted(task_means(records).items())}
