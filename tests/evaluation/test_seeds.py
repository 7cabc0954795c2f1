"""Intervals cover the variance between seeds and between tasks, and verdicts on an order follow from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import PairedDifference, wilson_ci95
from evaluation.records import EpisodeRecord
from evaluation.seeds import FIGURES, arm_figures, order_steps, study_differences, two_level_ci95, verdict_of

BASE = EpisodeRecord(
    environment="household",
    split="valid_unseen",
    task="t0",
    task_type="look",
    success=True,
    score=1.0,
    scores={},
    steps=4,
    prompt_tokens=100,
    output_tokens=20,
    reason_tokens=12,
    invalid_action_rate=0.25,
    seconds=2.0,
)


def episodes(outcomes: str, steps: int = 4) -> list[EpisodeRecord]:
    """One episode per task; 1 is a success."""
    return [
        replace(BASE, task=f"t{number}", success=outcome == "1", steps=steps) for number, outcome in enumerate(outcomes)
    ]


def test_an_arms_mean_gives_seeds_equal_weight_for_any_number_of_tasks() -> None:
    found = arm_figures({0: episodes("10", steps=2), 1: episodes("1111", steps=5)})
    assert (found.n, found.seeds) == (6, 2)
    assert found.means["success"] == 0.75
    assert found.means["steps"] == 3.5
    assert set(found.means) == set(FIGURES)


def test_attempts_at_a_task_are_averaged() -> None:
    twice = [*episodes("10"), replace(BASE, task="t0", success=False)]
    assert arm_figures({0: twice}).means["success"] == 0.25


def test_two_level_intervals_equal_values_computed_by_hand() -> None:
    """Two seeds of one task each, 0 and 1: resampled means are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4."""
    ((low, high),) = two_level_ci95([np.array([[0.0]]), np.array([[1.0]])])
    assert (low, high) == (0.0, 1.0)
    assert two_level_ci95([np.array([[1.0, 3.0], [1.0, 3.0]])]) == [(1.0, 1.0), (3.0, 3.0)]
    assert two_level_ci95([np.array([[1.0, 2.0]])]) == [None, None]


def test_variance_between_seeds_widens_the_interval() -> None:
    seeds_differ = arm_figures({0: episodes("1" * 50), 1: episodes("0" * 50)}).success_ci95
    tasks_differ = arm_figures({0: episodes("10" * 25), 1: episodes("10" * 25)}).success_ci95
    assert seeds_differ == (0.0, 1.0)
    assert tasks_differ is not None
    assert 0.37 < tasks_differ[0] < 0.43
    assert 0.57 < tasks_differ[1] < 0.63


def test_with_one_seed_the_interval_is_over_tasks() -> None:
    interval = arm_figures({7: episodes("10" * 50)}).success_ci95
    assert interval == pytest.approx((0.4, 0.6), abs=0.021)


def test_equal_outcomes_of_all_episodes_give_wilsons_interval() -> None:
    assert arm_figures({0: episodes("11"), 1: episodes("111")}).success_ci95 == wilson_ci95(5, 5)
    assert arm_figures({0: episodes("00")}).success_ci95 == wilson_ci95(0, 2)


def test_an_arm_without_episodes_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least one completed episode"):
        arm_figures({0: []})


def test_differences_are_paired_by_seed_and_task() -> None:
    """Seed 0 has tasks t0 and t1 in common (+1, 0), seed 1 only t0 (+1); only b has seed 2."""
    a = {0: episodes("111", steps=6), 1: episodes("1")}
    b = {0: episodes("01", steps=4), 1: episodes("00"), 2: episodes("1")}
    found = {row.metric: row for row in study_differences(a, b)}
    assert found["success"].difference == 0.75
    assert found["success"].n_pairs == 3
    assert found["steps"].difference == 1.0
    assert study_differences(a, {5: episodes("1")}) == []


@given(st.lists(st.text("01", min_size=1, max_size=8), min_size=1, max_size=4))
def test_an_arm_has_no_difference_from_itself(seeds: list[str]) -> None:
    arm = {number: episodes(outcomes) for number, outcomes in enumerate(seeds)}
    for row in study_differences(arm, arm):
        assert row.difference == 0.0
        assert row.ci95 in (None, (0.0, 0.0))


@pytest.mark.parametrize(
    ("difference", "ci95", "verdict"),
    [
        (0.1, (0.02, 0.2), "shown"),
        (0.1, (0.0, 0.2), "same direction, not significant"),
        (0.1, (-0.02, 0.2), "same direction, not significant"),
        (0.1, None, "same direction, not significant"),
        (0.0, (0.0, 0.0), "not shown"),
        (-0.1, (-0.2, 0.0), "not shown"),
    ],
)
def test_a_step_is_shown_only_if_its_interval_excludes_zero(
    difference: float, ci95: tuple[float, float] | None, verdict: str
) -> None:
    assert verdict_of(PairedDifference("success", difference, ci95, 10)) == verdict


def test_each_step_of_an_order_is_described_in_one_sentence() -> None:
    arms = {
        "worst": {0: episodes("0" * 40)},
        "middle": {0: episodes("0" * 20 + "1" * 20)},
        "best": {0: episodes("1" + "0" * 20 + "1" * 19)},
    }
    steps = order_steps(["worst", "middle", "best", "absent"], arms)
    assert [step.verdict for step in steps] == ["shown", "not shown", "not shown"]
    assert steps[0].sentence.startswith("worst < middle: shown: middle is ahead by +50.0 points [+35.0, +65.0]")
    assert steps[1].sentence.startswith("middle < best: not shown: both succeed equally often (+0.0 points [")
    assert steps[2].sentence == "best < absent: not shown: there are no episodes of absent"
    assert steps[2].difference is None
