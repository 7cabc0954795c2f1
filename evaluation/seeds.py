"""Figures over several runs that differ by their seed: intervals over seeds and tasks, and whether an order holds."""

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
from evaluation.records import EpisodeRecord

FIGURES = ("success", "score", "steps", "prompt_tokens", "output_tokens", "invalid_action_rate")
"""Of `evaluation.metrics.METRICS`, those that a study reports; times of a shared machine compare nothing."""

BySeed = Mapping[int, Sequence[EpisodeRecord]]
"""Episodes of one agent in one environment, by the seed of their run."""

Verdict = Literal["shown", "same direction, not significant", "not shown"]

_COLUMNS = [METRICS.index(figure) for figure in FIGURES]
_SUCCESS = FIGURES.index("success")


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """What one arm of a study came to in one environment.

    Attributes:
        n: episodes, over all seeds.
        seeds: how many.
        means: of every figure: the mean over seeds of the means over their tasks.
        success_ci95: over seeds and tasks; None for a single task.
    """

    n: int
    seeds: int
    means: Mapping[str, float]
    success_ci95: Interval | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an order, from the worse arm to the better one.

    Attributes:
        difference: better minus worse in success; None if there is nothing to compare.
        sentence: the verdict with its figures.
    """

    worse: str
    better: str
    difference: PairedDifference | None
    verdict: Verdict
    sentence: str


def two_level_ci95(groups: Sequence[Floats]) -> list[Interval | None]:
    """Percentile bootstrap of column means in two levels: seeds are drawn, then tasks within each that was drawn.

    With one seed it is a bootstrap over tasks. Source: Davison and Hinkley 1997, section 3.8, on hierarchical data.

    Args:
        groups: one array a seed, ``[tasks of the seed, num_columns]``, none of them empty.

    Returns:
        One interval a column; None for every column when there is one value in all.
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
    """Means over seeds and tasks; several attempts at a task count as their mean.

    Where all episodes end alike no resample differs, so the interval of success is Wilson's over tasks.

    Raises:
        ValueError: there are no episodes.
    """
    groups = [_figures(records) for _, records in sorted(episodes.items()) if records]
    if not groups:
        raise ValueError("an arm needs at least one episode")
    means = np.stack([np.stack(list(group.values())).mean(axis=0) for group in groups]).mean(axis=0).tolist()
    success = means[_SUCCESS]
    tasks = sum(len(group) for group in groups)
    if success in (0.0, 1.0):
        interval: Interval | None = wilson_ci95(round(success) * tasks, tasks)
    else:
        interval = two_level_ci95([np.stack(list(group.values())) for group in groups])[_SUCCESS]
    n = sum(len(records) for records in episodes.values())
    return ArmFigures(n, len(groups), dict(zip(FIGURES, means, strict=True)), interval)


def study_differences(a: BySeed, b: BySeed) -> list[PairedDifference]:
    """Mean of ``a - b`` for every figure over the pairs (seed, task) that both have; seeds count alike.

    Without a common pair the list is empty.
    """
    groups = []
    for seed in sorted(a.keys() & b.keys()):
        of_a, of_b = _figures(a[seed]), _figures(b[seed])
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


def order_steps(order: Sequence[str], arms: Mapping[str, BySeed]) -> list[Step]:
    """Whether each arm of ``order`` does better than the one before it, by success.

    Args:
        order: arms from the worst to the best.
        arms: what there is; an arm that is not there yet makes its steps "not shown".
    """
    return [_step(worse, better, arms) for worse, better in pairwise(order)]


def _step(worse: str, better: str, arms: Mapping[str, BySeed]) -> Step:
    differences = study_differences(arms.get(better, {}), arms.get(worse, {}))
    if not differences:
        missing = " and ".join(arm for arm in (worse, better) if not any(arms.get(arm, {}).values()))
        why = f"there are no episodes of {missing}" if missing else "they have no task of a seed in common"
        return Step(worse, better, None, "not shown", f"{worse} < {better}: not shown: {why}")
    difference = differences[_SUCCESS]
    verdict = verdict_of(difference)
    return Step(worse, better, difference, verdict, f"{worse} < {better}: {verdict}: {_in_words(better, difference)}")


def verdict_of(difference: PairedDifference) -> Verdict:
    """Whether a difference that should be positive is: shown only if its interval excludes zero."""
    if difference.difference <= 0:
        return "not shown"
    if difference.ci95 is None or difference.ci95[0] <= 0:
        return "same direction, not significant"
    return "shown"


def points(difference: PairedDifference) -> str:
    """A difference of shares in points of a hundred, with its interval: ``+4.5 points [+1.0, +8.0]``."""
    interval = "" if difference.ci95 is None else f" [{', '.join(f'{100 * bound:+.1f}' for bound in difference.ci95)}]"
    return f"{100 * difference.difference:+.1f} points{interval}"


def _in_words(better: str, difference: PairedDifference) -> str:
    if difference.difference == 0:
        return f"both succeed equally often ({points(difference)}, {difference.n_pairs:,} pairs)"
    side = "ahead" if difference.difference > 0 else "behind"
    return f"{better} is {side} by {points(difference)} over {difference.n_pairs:,} pairs"


def _figures(records: Sequence[EpisodeRecord]) -> dict[tuple[str, str], Floats]:
    """``[num_figures]`` by split and task, tasks sorted, so that the order of arrival changes nothing."""
    return {task: means[_COLUMNS] for task, means in sorted(task_means(records).items())}
