"""Every episode occurs once per epoch, on one rank, in its own row, and batches respect their budgets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.batching import collate, micro_batches, padded_length, plan_steps, rank_share
from learner.streams import to_sequence
from tests.learner.toys import toy_trajectory

LENGTHS = st.lists(st.integers(1, 900), min_size=1, max_size=60)


@given(LENGTHS, st.integers(0, 9), st.booleans(), st.integers(1, 7))
@settings(deadline=None)
def test_an_epoch_contains_every_episode_once_for_any_batch_size(
    lengths: list[int], seed: int, by_tokens: bool, size: int
) -> None:
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(lengths))]
    for keep_order in (True, False):
        steps = plan_steps(
            order,
            lengths,
            batch_episodes=None if by_tokens else size,
            batch_tokens=size * 300 if by_tokens else None,
            keep_order=keep_order,
            seed=(seed, 0),
        )
        flat = [index for step in steps for index in step]
        assert sorted(flat) == list(range(len(lengths)))
        assert not keep_order or flat == order
        for step in steps:
            assert len(step) == 1 or not by_tokens or sum(lengths[i] for i in step) <= size * 300
            assert by_tokens or len(step) <= size


@given(LENGTHS, st.integers(1, 5), st.integers(64, 3000))
@settings(deadline=None)
def test_ranks_share_a_step_without_overlap_and_get_equally_many_micro_batches(
    lengths: list[int], world_size: int, budget: int
) -> None:
    step = list(range(len(lengths)))
    ranks = [micro_batches(step, lengths, rank, world_size, budget) for rank in range(world_size)]
    assert sorted(i for batches in ranks for members in batches for i in members) == step
    assert len({len(batches) for batches in ranks}) == 1
    for members in (members for batches in ranks for members in batches):
        if len(members) > 1:
            assert len(members) * max(padded_length(lengths[i]) for i in members) <= budget


def test_ranks_get_about_equally_many_tokens() -> None:
    lengths = [100 + 10 * i for i in range(40)]
    loads = [sum(lengths[i] for i in rank_share(range(40), lengths, rank, 4)) for rank in range(4)]
    assert max(loads) - min(loads) <= 20


def test_shuffled_steps_hold_episodes_of_similar_length_and_depend_on_the_seed_only() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(50, 1000, size=400)]
    order = list(range(400))

    def plan(seed: int) -> list[list[int]]:
        return plan_steps(order, lengths, batch_episodes=4, batch_tokens=None, keep_order=False, seed=(seed, 0))

    spread = np.mean([np.ptp([lengths[i] for i in step]) for step in plan(1)])
    unsorted = np.mean([np.ptp([lengths[i] for i in order[at : at + 4]]) for at in range(0, 400, 4)])
    assert spread < unsorted / 5
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_padding_rounds_up_to_a_multiple_of_64() -> None:
    assert [padded_length(n) for n in (1, 64, 65, 600)] == [64, 64, 128, 640]


def test_a_batch_predicts_the_next_token_of_its_own_row() -> None:
    sequences = [to_sequence(toy_trajectory(seed, turns=2 + seed, k=3 + seed), ["reason", "act"]) for seed in range(3)]
    batch = collate(sequences, ["reason", "act"])
    assert batch.input_ids.shape[0] == 3
    columns = batch.input_ids.shape[1]
    rows, at = batch.positions // columns, batch.positions % columns
    assert np.array_equal(batch.input_ids[rows, at + 1], batch.labels)
    assert np.all(batch.weights.sum(axis=0) == 1.0)
    expected = sum(s.weights["reason"].sum() + s.weights["act"].sum() for s in sequences)
    assert batch.weights.sum() == expected == len(batch.positions)


def test_teacher_rows_of_a_batch_point_to_the_tokens_that_they_score() -> None:
    """The episodes have different numbers of teacher entries, and one has no scores."""
    sequences = [to_sequence(toy_trajectory(seed, k=k), ["generated"]) for seed, k in ((0, 2), (1, 0), (2, 5))]
    batch = collate(sequences, ["generated"])
    assert batch.teacher_ids.shape[1] == 5
    assert np.array_equal(batch.teacher_ids[:, 0], batch.labels[batch.teacher_rows])
    scored = len(sequences[0].weights["generated"].nonzero()[0]) + len(sequences[2].weights["generated"].nonzero()[0])
    assert len(batch.teacher_rows) == scored


def test_scores_of_tokens_without_weight_are_excluded_from_the_batch() -> None:
    sequence = to_sequence(toy_trajectory(0, k=3), ["act"])
    batch = collate([sequence], ["act"])
    assert len(batch.teacher_rows) == len(batch.labels) == sequence.act_tokens
