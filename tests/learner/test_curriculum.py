"""The complexity order is ascending and stable, and pacing and shuffling are deterministic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learner.config import ComplexityOrder, ShuffledOrder
from learner.curriculum import EpochOrder, complexity, mean_entropy
from learner.streams import TeacherScores, TrainingSequence
from rollout.errors import UserError


def sequence(reason: int, act: int, teacher: TeacherScores | None = None) -> TrainingSequence:
    return TrainingSequence(np.zeros(4, np.int32), {}, teacher, reason, act)


def scores(logprobs: list[list[float]], tail: list[float]) -> TeacherScores:
    rows = np.array(logprobs, np.float32)
    positions = np.arange(len(rows), dtype=np.int32)
    return TeacherScores(positions, np.ones_like(positions), np.zeros(rows.shape, np.int32), rows, np.array(tail))


def test_entropy_of_a_truncated_distribution_counts_the_tail_as_one_outcome() -> None:
    """(1/2, 1/4, tail 1/4) has 1.5 ln 2 nats; a certain token has 0, and its padded entry adds 0."""
    rows = [[math.log(0.5), math.log(0.25)], [0.0, -math.inf]]
    assert mean_entropy(scores(rows, [0.25, 0.0])) == pytest.approx(0.75 * math.log(2.0), abs=1e-6)


def test_entropy_of_a_row_that_covers_several_tokens_is_normalized() -> None:
    """(1/20, tail 1/20) has ln 2 nats, as (1/2, 1/2) does."""
    assert mean_entropy(scores([[math.log(0.05)]], [0.05])) == pytest.approx(math.log(2.0), abs=1e-6)


def test_complexity_is_a_weighted_sum_of_reason_tokens_act_tokens_and_entropy() -> None:
    scored = sequence(10, 4, scores([[math.log(0.5)]], [0.5]))
    order = ComplexityOrder(alpha=2.0, beta=3.0, gamma=10.0)
    assert complexity(scored, order) == pytest.approx(2 * 10 + 3 * 4 + 10 * math.log(2.0), abs=1e-5)


def test_gamma_with_an_unscored_episode_is_rejected_instead_of_using_zero() -> None:
    with pytest.raises(UserError, match="top_logprobs"):
        complexity(sequence(1, 1), ComplexityOrder(gamma=1.0))


def test_easy_episodes_precede_hard_ones_in_every_epoch_and_ties_keep_their_order() -> None:
    data = [sequence(5, 0), sequence(1, 0), sequence(3, 2), sequence(1, 0), sequence(2, 0)]
    order = EpochOrder(ComplexityOrder(), data, seed=0)
    assert order.epoch(0, 0.0) == order.epoch(1, 0.5) == [1, 3, 4, 0, 2]
    assert order.fixed


def test_pacing_adds_harder_episodes_linearly_until_all_are_included() -> None:
    data = [sequence(n, 0) for n in range(100)]
    order = EpochOrder(ComplexityOrder(pace_fraction=0.5, pace_start=0.2), data, seed=0)
    sizes = [len(order.epoch(0, fraction)) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert sizes == [20, 60, 100, 100]
    assert max(order.epoch(0, 0.25)) == 59
    assert not order.fixed


def test_shuffling_depends_on_epoch_and_seed_only() -> None:
    data = [sequence(0, 0)] * 50

    def epoch(seed: int, number: int) -> list[int]:
        return EpochOrder(ShuffledOrder(), data, seed).epoch(number, 0.0)

    assert epoch(0, 0) == epoch(0, 0)
    assert sorted(epoch(0, 0)) == list(range(50))
    assert len({tuple(epoch(s, n)) for s in (0, 1) for n in (0, 1)}) == 4
