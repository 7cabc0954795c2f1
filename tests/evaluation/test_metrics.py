"""Means are per episode, intervals equal published values and formulas, and agents are compared by task."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.failures import FailureFigures
from evaluation.metrics import (
    METRICS,
    PairedDifference,
    bootstrap_ci95,
    paired_differences,
    summarize,
    wilson_ci95,
)
from evaluation.records import EpisodeRecord
from rollout.errors import Cause, Failure

BASE = EpisodeRecord(
    environment="household",
    split="valid_unseen",
    task="t0",
    task_type="look",
    success=True,
    score=1.0,
    scores={"f1": 0.5},
    steps=4,
    prompt_tokens=100,
    output_tokens=20,
    reason_tokens=12,
    invalid_action_rate=0.25,
    seconds=2.0,
)


def test_wilson_matches_published_values() -> None:
    assert wilson_ci95(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert wilson_ci95(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson_ci95(1, 1) == pytest.approx((0.20654, 1.0), abs=1e-5)


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        (0, 1, (0.0, 0.7934506856227626)),
        (1, 7, (0.02567962434474358, 0.5131278292743189)),
        (67, 134, (0.41653043215653485, 0.5834695678434652)),
        (131, 134, (0.9362457955303272, 0.9923572611632616)),
        (500, 500, (0.9923756595384479, 1.0)),
    ],
)
def test_wilson_agrees_with_scipy(successes: int, n: int, expected: tuple[float, float]) -> None:
    """SciPy 1.17.1: ``binomtest(successes, n).proportion_ci(method="wilson")``."""
    assert wilson_ci95(successes, n) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_the_rates_at_the_boundary_of_the_score_test(case: tuple[int, int]) -> None:
    successes, n = case
    for bound in wilson_ci95(successes, n):
        assert abs(successes / n - bound) == pytest.approx(1.959963984540054 * sqrt(bound * (1 - bound) / n), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_rejects_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_ci95(successes, n)


def test_the_bootstrap_interval_of_two_values_spans_both() -> None:
    """Resampled means of {0, 1} are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4, so both quantiles are extremes."""
    assert bootstrap_ci95(np.array([[0.0], [1.0]])) == [(0.0, 1.0)]


def test_bootstrap_agrees_with_scipy() -> None:
    """SciPy 1.17.1: ``bootstrap((values.T,), np.mean, axis=-1, n_resamples=2000, method="percentile",
    rng=np.random.default_rng(0))`` draws the same resamples."""
    values = np.array([[0, 3.5], [1, -2], [1, 8], [0, 0.25], [1, 41], [0, 7], [1, 1000], [1, -5]])
    first, second = bootstrap_ci95(values)
    assert first == pytest.approx((0.25, 0.875), abs=1e-12)
    assert second == pytest.approx((0.75, 381.46953125), abs=1e-9)


def test_bootstrap_agrees_with_the_normal_interval_on_many_values() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=(400, 1))
    half = 1.96 * values.std(ddof=1) / sqrt(400)
    [interval] = bootstrap_ci95(values)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_the_bootstrap_of_one_value_has_no_interval() -> None:
    assert bootstrap_ci95(np.array([[1.0, 2.0]])) == [None, None]


def test_summary_holds_means_per_episode() -> None:
    other = replace(BASE, success=False, score=0.5, steps=8, prompt_tokens=300, invalid_action_rate=0.75)
    summary = summarize([BASE, replace(other, scores={"price": 1.0})])
    assert summary.scores == {"f1": 0.25, "price": 0.5}
    assert (summary.n, summary.failures.total) == (2, 0)
    assert summary.means == {
        "success": 0.5,
        "score": 0.75,
        "steps": 6.0,
        "prompt_tokens": 200.0,
        "output_tokens": 20.0,
        "reason_tokens": 12.0,
        "invalid_action_rate": 0.5,
        "seconds": 2.0,
    }
    assert summary.intervals["success"] == wilson_ci95(1, 2)
    assert summary.intervals["output_tokens"] == (20.0, 20.0)


def test_a_summary_without_episodes_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarize([])


@settings(max_examples=10)
@given(st.permutations(range(8)))
def test_a_summary_does_not_depend_on_the_order_of_episodes(order: list[int]) -> None:
    records = [replace(BASE, seconds=0.1 * index, success=index % 3 == 0, steps=index) for index in range(8)]
    assert summarize([records[index] for index in order]) == summarize(records)


def test_differences_are_paired_by_task_and_ignore_tasks_of_one_agent_only() -> None:
    """Steps differ by +2, +4 and +6 on the three common tasks; the fourth task would have added 100."""
    a = [replace(BASE, task=f"t{index}", steps=10 + 2 * index) for index in (1, 2, 3)]
    b = [replace(BASE, task=f"t{index}", steps=10) for index in (3, 2, 1)] + [replace(BASE, task="t9", steps=110)]
    differences = {row.metric: row for row in paired_differences(a, b)}
    assert tuple(differences) == METRICS
    assert differences["success"] == PairedDifference("success", 0.0, (0.0, 0.0), 3)
    assert (differences["steps"].difference, differences["steps"].n_pairs) == (4.0, 3)
    assert differences["steps"].ci95 == pytest.approx((2.0, 6.0))


def test_pairing_removes_the_variance_between_tasks() -> None:
    """Tasks differ by hundreds of steps, agents by one or two; the paired interval covers only the latter."""
    b = [replace(BASE, task=f"t{index}", steps=100 * index) for index in range(20)]
    a = [replace(record, steps=record.steps + 1 + index % 2) for index, record in enumerate(b)]
    [steps] = [row for row in paired_differences(a, b) if row.metric == "steps"]
    assert steps.difference == 1.5
    assert steps.ci95 is not None
    assert 1.0 <= steps.ci95[0] < 1.5 < steps.ci95[1] <= 2.0


def test_attempts_at_one_task_are_averaged() -> None:
    a = [replace(BASE, success=True), replace(BASE, success=False)]
    b = [replace(BASE, success=False)]
    success = paired_differences(a, b)[0]
    assert success == PairedDifference("success", 0.5, None, 1)


def test_the_same_task_name_in_two_splits_is_two_tasks() -> None:
    assert paired_differences([BASE], [replace(BASE, split="valid_seen")]) == []


def test_episodes_that_were_not_completed_are_in_no_mean_and_paired_with_none() -> None:
    failure = Failure("engine", "EngineUnavailable", "no answer", Cause.ENGINE)
    lost = replace(BASE, task="t1", success=False, score=0.0, steps=0, failure=failure)
    summary = summarize([BASE, lost])
    assert (summary.n, summary.means["success"], summary.means["steps"]) == (1, 1.0, 4.0)
    assert (summary.failures, summary.is_complete) == (
        FailureFigures({"engine": 1}, "EngineUnavailable: no answer"),
        False,
    )
    others = [replace(BASE, steps=6), replace(BASE, task="t1", steps=900)]
    differences = {row.metric: row for row in paired_differences([BASE, lost], others)}
    assert (differences["steps"].difference, differences["steps"].n_pairs) == (-2.0, 1)
    assert paired_differences([lost], others) == []


def test_a_failure_that_the_agent_caused_is_in_the_means() -> None:
    failed = replace(BASE, success=False, failure=Failure("environment", "KeyError", "'x'", Cause.AGENT))
    assert (summarize([BASE, failed]).n, summarize([BASE, failed]).means["success"]) == (2, 0.5)
