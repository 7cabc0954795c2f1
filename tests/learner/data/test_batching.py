"""Batches predict the next token of the same episode, in a row of its own or in a packed row."""

from __future__ import annotations

import numpy as np
import pytest

from learner.data.batching import collate, packed_length, padded_length
from learner.data.streams import to_sequence
from tests.learner.toys import toy_trajectory


def test_padding_rounds_up_to_a_multiple_of_64() -> None:
    assert [padded_length(n) for n in (1, 64, 65, 600)] == [64, 64, 128, 640]


def test_a_packed_row_rounds_up_to_a_multiple_of_8_and_its_padding_is_a_sequence_of_its_own() -> None:
    assert [packed_length(n) for n in (1, 8, 9, 600)] == [8, 8, 16, 600]
    sequences = [to_sequence(toy_trajectory(seed), ["act"]) for seed in range(3)]
    lengths = [len(sequence) for sequence in sequences]
    batch = collate(sequences, ["act"], packed=True)
    assert batch.sequence_lengths is not None
    assert batch.sequence_lengths[:3] == tuple(lengths)
    assert sum(batch.sequence_lengths) == batch.input_ids.size == packed_length(sum(lengths)) != sum(lengths)
    assert batch.input_ids[0, : sum(lengths)].tolist() == [i for s in sequences for i in s.token_ids]


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_predicts_the_next_token_of_its_own_row(packed: bool) -> None:
    sequences = [to_sequence(toy_trajectory(seed, turns=2 + seed, k=3 + seed), ["reason", "act"]) for seed in range(3)]
    batch = collate(sequences, ["reason", "act"], packed=packed)
    assert batch.input_ids.shape[0] == (1 if packed else 3)
    columns = batch.input_ids.shape[1]
    rows, at = batch.positions // columns, batch.positions % columns
    assert np.array_equal(batch.input_ids[rows, at + 1], batch.labels)
    assert np.all(batch.weights.sum(axis=0) == 1.0)
    expected = sum(s.weights["reason"].sum() + s.weights["act"].sum() for s in sequences)
    assert batch.weights.sum() == expected == len(batch.positions)


@pytest.mark.parametrize("packed", [False, True])
def test_teacher_rows_of_a_batch_point_to_the_tokens_that_they_score(packed: bool) -> None:
    """The episodes have different numbers of teacher entries, and one has no scores."""
    sequences = [to_sequence(toy_trajectory(seed, k=k), ["generated"]) for seed, k in ((0, 2), (1, 0), (2, 5))]
    batch = collate(sequences, ["generated"], packed=packed)
    assert batch.teacher_ids.shape[1] == 5
    assert np.array_equal(batch.teacher_ids[:, 0], batch.labels[batch.teacher_rows])
    scored = len(sequences[0].weights["generated"].nonzero()[0]) + len(sequences[2].weights["generated"].nonzero()[0])
    assert len(batch.teacher_rows) == scored


def test_scores_of_tokens_without_weight_are_excluded_from_the_batch() -> None:
    sequence = to_sequence(toy_trajectory(0, k=3), ["act"])
    batch = collate([sequence], ["act"])
    assert len(batch.teacher_rows) == len(batch.labels) == sequence.act_tokens
