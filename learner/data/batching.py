"""Batching: collates the sequences of a micro-batch into arrays, padded or packed.

Padded, every sequence is its own row, padded on the right. Causal attention needs no mask then: a token attends only to
earlier tokens of its own episode, and the outputs at padding are never read. Packed, all sequences are in one row, and
attention is block-diagonal (`learner.packing`).

Dimensions: B rows, L columns, N predicted tokens, S loss terms, M tokens with teacher scores, k teacher entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.data.streams import TrainingSequence

LENGTH_MULTIPLE = 64
"""Row lengths are rounded up to a multiple of this, so that kernels and allocators see few distinct shapes."""
_PACKED_MULTIPLE = 8
"""Multiple that half-precision matrix products on a GPU need."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of one micro-batch.

    Attributes:
        input_ids: ``[B, L]`` token ids, padded on the right with 0. Packed sequences are all in one row.
        positions: ``[N]`` indices into B*L of the positions whose next token is predicted.
        labels: ``[N]`` the tokens that follow these positions.
        weights: ``[S, N]`` stream weights, one row per loss term.
        teacher_rows: ``[M]`` indices into N of the tokens with teacher scores, ascending.
        teacher_sizes: ``[M]`` number of tokens that each row of scores covers.
        teacher_ids: ``[M, k]`` token ids of the teacher's entries.
        teacher_logprobs: ``[M, k]`` their log-probabilities; -inf in unused entries.
        teacher_tail: ``[M]`` probability of all tokens that are not among the entries.
        sequence_lengths: lengths of the sequences of a packed row, which add up to L; None if rows are not packed.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    teacher_rows: NDArray[np.int64]
    teacher_sizes: NDArray[np.int64]
    teacher_ids: NDArray[np.int64]
    teacher_logprobs: NDArray[np.float32]
    teacher_tail: NDArray[np.float32]
    sequence_lengths: tuple[int, ...] | None = None


def padded_length(length: int) -> int:
    """Number of columns that a sequence of ``length`` tokens takes up after padding."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def packed_length(tokens: int) -> int:
    """Number of columns of a packed row with ``tokens`` tokens."""
    return -(-tokens // _PACKED_MULTIPLE) * _PACKED_MULTIPLE


def collate(sequences: Sequence[TrainingSequence], weight_names: Sequence[str], *, packed: bool = False) -> Batch:
    """Build the arrays of one micro-batch. Tokens whose weights are all zero are excluded from N.

    Args:
        sequences: at least one.
        weight_names: for each loss term, the name of its weights in `TrainingSequence.weights`.
        packed: put all sequences into one row, one after the other, instead of one row each.
    """
    lengths = [len(sequence) for sequence in sequences]
    columns = packed_length(sum(lengths)) if packed else padded_length(max(lengths))
    starts = np.cumsum([0, *lengths[:-1]]) if packed else columns * np.arange(len(sequences))
    input_ids = np.zeros((1 if packed else len(sequences), columns), np.int64)
    positions, labels, weights = [], [], []
    for start, sequence in zip(starts, sequences, strict=True):
        input_ids.reshape(-1)[start : start + len(sequence)] = sequence.token_ids
        stacked = np.stack([sequence.weights[name] for name in weight_names])
        targets = np.flatnonzero(stacked.any(axis=0))
        positions.append(start + targets - 1)
        labels.append(sequence.token_ids[targets])
        weights.append(stacked[:, targets])
    all_positions = np.concatenate(positions).astype(np.int64)
    rows, sizes, ids, logprobs, tail = _teacher(sequences, all_positions, starts)
    return Batch(
        input_ids=input_ids,
        positions=all_positions,
        labels=np.concatenate(labels).astype(np.int64),
        weights=np.concatenate(weights, axis=1),
        teacher_rows=rows,
        teacher_sizes=sizes,
        teacher_ids=ids,
        teacher_logprobs=logprobs,
        teacher_tail=tail,
        sequence_lengths=_with_padding(lengths, columns) if packed else None,
    )


def _with_padding(lengths: list[int], columns: int) -> tuple[int, ...]:
    """The lengths in a packed row. The padding at its end is a sequence of its own."""
    padding = columns - sum(lengths)
    return (*lengths, padding) if padding else tuple(lengths)


def _teacher(
    sequences: Sequence[TrainingSequence], positions: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    scored = [(start, s.teacher) for start, s in zip(starts, sequences, strict=True) if s.teacher is not None]
    if not scored:
        none, empty = np.zeros(0, np.int64), np.zeros((0, 1))
        return none, none, empty.astype(np.int64), empty.astype(np.float32), none.astype(np.float32)
    k = max(teacher.token_ids.shape[1] for _, teacher in scored)
    where = np.concatenate([start + teacher.positions.astype(np.int64) - 1 for start, teacher in scored])
    ids = np.concatenate([np.pad(t.token_ids, ((0, 0), (0, k - t.token_ids.shape[1])), "edge") for _, t in scored])
    logprobs = np.concatenate(
        [np.pad(t.logprobs, ((0, 0), (0, k - t.logprobs.shape[1])), constant_values=-np.inf) for _, t in scored]
    )
    sizes = np.concatenate([teacher.sizes for _, teacher in scored]).astype(np.int64)
    tail = np.concatenate([teacher.tail_mass for _, teacher in scored])
    wanted = np.isin(where, positions)
    rows = np.searchsorted(positions, where[wanted])
    return rows.astype(np.int64), sizes[wanted], ids[wanted].astype(np.int64), logprobs[wanted], tail[wanted]
