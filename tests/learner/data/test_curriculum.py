"""The curriculum paces from easy to hard, is followed by whole epochs, and never misses the longest episodes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learner.config import ComplexityOrder, LearnerConfig, ShuffledOrder
from learner.data.curriculum import EpochOrder, budget_tokens, complexity, mean_entropy
from learner.data.streams import TeacherScores, TrainingSequence
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


LENGTHS = np.arange(10, 410)
"""The longer an episode, the more complex it is."""
TOTAL, LONGEST = int(LENGTHS.sum()), int(LENGTHS.max())


def epoch_order(order: ComplexityOrder | ShuffledOrder, budget: float, seed: int = 0) -> EpochOrder:
    return EpochOrder(order, LENGTHS.astype(float), LENGTHS, budget, seed)


def presented(order: EpochOrder, budget: float) -> list[list[int]]:
    """The sequences of each epoch, until the budget is used."""
    epochs: list[list[int]] = []
    used = 0
    while used < budget:
        epochs.append([])
        for index in order.epoch(len(epochs) - 1).order:
            if used >= budget:
                break
            epochs[-1].append(index)
            used += int(LENGTHS[index])
    return epochs


@pytest.mark.parametrize(("epochs", "curriculum"), [(2, 1), (3, 1), (4, 1), (7, 2), (10, 3)])
def test_a_budget_of_epochs_ends_with_whole_epochs_after_about_30_percent(epochs: int, curriculum: int) -> None:
    parts = presented(epoch_order(ComplexityOrder(), epochs * TOTAL), epochs * TOTAL)
    assert len(parts) == epochs
    for part in parts[:curriculum]:
        assert LENGTHS[part].sum() == pytest.approx(TOTAL, abs=2 * LONGEST)
        assert sorted(part) != list(range(400))
    assert all(sorted(part) == list(range(400)) for part in parts[curriculum:])


def test_a_budget_of_tokens_that_is_no_multiple_of_the_data_ends_with_a_whole_epoch() -> None:
    """1.56 epochs, as in the studies: sorted twice, the longest quarter was seen once and never in the last tenth."""
    budget = 1.56 * TOTAL
    paced, whole = presented(epoch_order(ComplexityOrder(), budget), budget)
    assert LENGTHS[paced].sum() == pytest.approx(0.56 * TOTAL, abs=LONGEST)
    assert len(whole) in (399, 400)
    assert len(set(whole)) == len(whole)
    end = np.cumsum(LENGTHS[whole]) > 0.8 * TOTAL
    assert np.mean(np.array(whole)[end] >= 300) == pytest.approx(0.25, abs=0.1)


def test_the_easy_fraction_grows_over_the_pace() -> None:
    paced = epoch_order(ComplexityOrder(pace_start=0.2), 10 * TOTAL).epoch(0)
    assert paced.keep_order
    hardest = [max(part) for part in np.array_split(np.array(paced.order), 6)]
    assert 79 <= hardest[0] < 100
    assert hardest == sorted(hardest)
    assert hardest[-1] > 120


def test_a_single_epoch_presents_every_episode_once_and_hard_ones_later() -> None:
    (only,) = presented(epoch_order(ComplexityOrder(), TOTAL), TOTAL)
    assert sorted(only) == list(range(400))
    assert max(only[:20]) < 140
    assert np.mean(only[:200]) < 185
    assert np.mean(only[200:]) > 215


def test_with_less_than_an_epoch_the_rest_after_the_pace_is_a_random_part_of_all() -> None:
    (paced, rest) = presented(epoch_order(ComplexityOrder(), 0.5 * TOTAL), 0.5 * TOTAL)
    assert LENGTHS[paced].sum() == pytest.approx(0.15 * TOTAL, abs=LONGEST)
    assert np.mean(rest) == pytest.approx(200, abs=30)


def test_a_pace_of_0_sorts_every_epoch_and_spreads_the_one_that_the_budget_cuts() -> None:
    budget = 1.5 * TOTAL
    whole, part = presented(epoch_order(ComplexityOrder(pace_fraction=0.0), budget), budget)
    assert whole == list(range(400))
    assert part == sorted(part)
    assert np.histogram(part, bins=4, range=(0, 400))[0] == pytest.approx(50, abs=15)


@pytest.mark.parametrize("pace", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("epochs", [0.4, 1.0, 1.2, 2.5, 6.3])
def test_every_episode_is_seen_as_often_as_every_other_after_the_curriculum(pace: float, epochs: float) -> None:
    """It is seen once more than others if the budget ends within an epoch."""
    budget = epochs * TOTAL
    order = epoch_order(ComplexityOrder(pace_fraction=pace), budget)
    after = [part for number, part in enumerate(presented(order, budget)) if pace == 0.0 or number >= order.num_paced]
    seen = np.bincount([index for part in after for index in part], minlength=400)
    assert seen.max() - seen.min() <= 1


def test_shuffling_depends_on_epoch_and_seed_only() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return list(epoch_order(ShuffledOrder(), TOTAL, seed).epoch(number).order)

    assert epoch(0, 0) == epoch(0, 0)
    assert sorted(epoch(0, 0)) == list(range(400))
    assert len({tuple(epoch(s, n)) for s in (0, 1) for n in (0, 1)}) == 4


def test_the_budget_in_tokens_is_the_smaller_of_epochs_and_max_tokens() -> None:
    def budget(**limits: int | float) -> float:
        return budget_tokens(LearnerConfig.model_validate({"batch_episodes": 1, **limits}), 1000)

    assert budget(epochs=3) == 3000
    assert budget(epochs=3, max_tokens=2500) == 2500
    assert budget(max_seconds=5.0) == math.inf
