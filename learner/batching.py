"""Batching: groups sequences into optimizer steps and micro-batches, and collates them into arrays.

Every sequence is its own row, padded on the right. Causal attention needs no mask then: a token attends only to earlier
tokens of its own episode, and the outputs at padding are never read.

Dimensions: B rows, L columns, N predicted tokens, S loss terms, M tokens with teacher scores, k teacher entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.streams import TrainingSequence

LENGTH_MULTIPLE = 64
"""Row lengths are rounded up to a multiple of this, so that kernels and allocators see few distinct shapes."""
_BUCKET_STEPS = 16
"""Number of optimizer steps that are filled from one length-sorted window of the shuffled data."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of one micro-batch.

    Attributes:
        input_ids: ``[B, L]`` token ids, padded on the right with 0.
        positions: ``[N]`` indices into B*L of the positions whose next token is predicted.
        labels: ``[N]`` the tokens that follow these positions.
        weights: ``[S, N]`` stream weights, one row per loss term.
        teacher_rows: ``[M]`` indices into N of the tokens with teacher scores, ascending.
        teacher_sizes: ``[M]`` number of tokens that each row of scores covers.
        teacher_ids: ``[M, k]`` token ids of the teacher's entries.
        teacher_logprobs: ``[M, k]`` their log-probabilities; -inf in unused entries.
        teacher_tail: ``[M]`` probability of all tokens that are not among the entries.
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


def padded_length(length: int) -> int:
    """Number of columns that a sequence of ``length`` tokens takes up after padding."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def plan_steps(
    order: Sequence[int],
    lengths: Sequence[int],
    *,
    batch_episodes: int | None,
    batch_tokens: int | None,
    keep_order: bool,
    seed: tuple[int, ...],
) -> list[list[int]]:
    """Divide an epoch into optimizer steps.

    Unless ``keep_order``, episodes of similar length are grouped within windows of the shuffled data to reduce padding,
    and the steps are shuffled again.

    Args:
        order: sequence indices of the epoch.
        lengths: tokens of each sequence.
        batch_episodes: episodes per step; None if ``batch_tokens`` is given.
        batch_tokens: upper bound on the tokens of a step that has more than one episode.
        keep_order: keep the sequences exactly in ``order``.
        seed: seed of the shuffle of the steps.

    Returns:
        The sequence indices of each step.
    """
    if keep_order:
        return _cut(order, lengths, batch_episodes, batch_tokens)
    if batch_episodes is not None:
        window = _BUCKET_STEPS * batch_episodes
    else:
        mean = sum(lengths[i] for i in order) / max(1, len(order))
        window = max(1, round(_BUCKET_STEPS * (batch_tokens or 1) / max(1.0, mean)))
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        by_length = sorted(order[start : start + window], key=lengths.__getitem__)
        steps += _cut(by_length, lengths, batch_episodes, batch_tokens)
    return [steps[i] for i in np.random.default_rng(seed).permutation(len(steps))]


def _cut(
    order: Sequence[int], lengths: Sequence[int], batch_episodes: int | None, batch_tokens: int | None
) -> list[list[int]]:
    steps: list[list[int]] = []
    tokens = 0
    for index in order:
        full = not steps or len(steps[-1]) == batch_episodes
        if full or (batch_tokens is not None and tokens + lengths[index] > batch_tokens):
            steps.append([])
            tokens = 0
        steps[-1].append(index)
        tokens += lengths[index]
    return steps


def rank_share(step: Sequence[int], lengths: Sequence[int], rank: int, world_size: int) -> list[int]:
    """Return the sequences of a step that ``rank`` trains on, longest first.

    Sequences are dealt in a snake order over the ranks, which gives ranks about the same number of tokens.
    """
    by_length = sorted(step, key=lambda index: (-lengths[index], index))
    cycle = 2 * world_size
    return [index for i, index in enumerate(by_length) if i % cycle in (rank, cycle - 1 - rank)]


def micro_batches(
    step: Sequence[int], lengths: Sequence[int], rank: int, world_size: int, micro_batch_tokens: int
) -> list[list[int]]:
    """Divide a rank's share of a step into micro-batches of at most ``micro_batch_tokens`` tokens, padding included.

    A sequence longer than that is a micro-batch by itself. Every rank gets the same number of micro-batches, so that
    collective operations match; a rank with less work gets empty lists at the end.
    """
    shares = [rank_share(step, lengths, r, world_size) for r in range(world_size)]
    by_rank = [_pack(share, lengths, micro_batch_tokens) for share in shares]
    own = by_rank[rank]
    return own + [[]] * (max(map(len, by_rank)) - len(own))


def _pack(longest_first: Sequence[int], lengths: Sequence[int], micro_batch_tokens: int) -> list[list[int]]:
    packed: list[list[int]] = []
    for index in longest_first:
        if packed and padded_length(lengths[packed[-1][0]]) * (len(packed[-1]) + 1) <= micro_batch_tokens:
            packed[-1].append(index)
        else:
            packed.append([index])
    return packed


def collate(sequences: Sequence[TrainingSequence], weight_names: Sequence[str]) -> Batch:
    """Build the arrays of one micro-batch. Tokens whose weights are all zero are excluded from N.

    Args:
        sequences: at least one.
        weight_names: for each loss term, the name of its weights in `TrainingSequence.weights`.
    """
    columns = padded_length(max(map(len, sequences)))
    input_ids = np.zeros((len(sequences), columns), np.int64)
    positions, labels, weights = [], [], []
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence.token_ids
        stacked = np.stack([sequence.weights[name] for name in weight_names])
        targets = np.flatnonzero(stacked.any(axis=0))
        positions.append(row * columns + targets - 1)
        labels.append(sequence.token_ids[targets])
        weights.append(stacked[:, targets])
    all_positions = np.concatenate(positions).astype(np.int64)
    rows, sizes, ids, logprobs, tail = _teacher(sequences, all_positions, columns)
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
    )


def _teacher(
    sequences: Sequence[TrainingSequence], positions: NDArray[np.int64], columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    scored = [(row, s.teacher) for row, s in enumerate(sequences) if s.teacher is not None]
    if not scored:
        none, empty = np.zeros(0, np.int64), np.zeros((0, 1))
        return none, none, empty.astype(np.int64), empty.astype(np.float32), none.astype(np.float32)
    k = max(teacher.token_ids.shape[1] for _, teacher in scored)
    where = np.concatenate([row * columns + teacher.positions.astype(np.int64) - 1 for row, teacher in scored])
    ids = np.concatenate([np.pad(t.token_ids, ((0, 0), (0, k - t.token_ids.shape[1])), "edge") for _, t in scored])
    logprobs = np.concatenate(
        [np.pad(t.logprobs, ((0, 0), (0, k - t.logprobs.shape[1])), constant_values=-np.inf) for _, t in scored]
    )
    sizes = np.concatenate([teacher.sizes for _, teacher in scored]).astype(np.int64)
    tail = np.concatenate([teacher.tail_mass for _, teacher in scored])
    wanted = np.isin(where, positions)
    rows = np.searchsorted(positions, where[wanted])
    return rows.astype(np.int64), sizes[wanted], ids[wanted].astype(np.int64), logprobs[wanted], tail[wanted]
