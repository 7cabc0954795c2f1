"""Steps and micro-batches: which sequences go through the model together, and the arrays they become.

Every sequence is a row of its own, padded on the right. Causal attention then needs no mask at all: a token sees only
what stands before it in its own episode, and what padding computes is never read. Legend: B rows, L columns, N
predicted tokens, S terms, M scored tokens, k teacher entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.streams import TrainingSequence

LENGTH_MULTIPLE = 64
"""Row lengths are rounded up to it: few distinct shapes let kernels and allocators reuse what they have."""
_BUCKET_STEPS = 16
"""So many steps are filled from one window of the shuffled data that was sorted by length."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass.

    Attributes:
        input_ids: ``[B, L]``.
        positions: ``[N]`` indices into B*L of the positions whose next token is predicted.
        labels: ``[N]`` these next tokens.
        weights: ``[S, N]`` one row of stream weights a term.
        teacher_rows: ``[M]`` indices into N that were scored, ascending; teacher_sizes: tokens that each stands for.
        teacher_ids, teacher_logprobs: ``[M, k]``; teacher_tail: ``[M]``.
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
    """A row's length after padding."""
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
    """Cut an epoch into optimizer steps of so many episodes, or of at most so many tokens (one episode at least).

    Unless the order must be kept, episodes of like length are put together within windows of the shuffled data, and the
    steps are shuffled again.
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
    """A rank's sequences of a step, longest first: dealt forth and back, so that ranks get about equal work."""
    by_length = sorted(step, key=lambda index: (-lengths[index], index))
    turn = 2 * world_size
    return [index for i, index in enumerate(by_length) if i % turn in (rank, turn - 1 - rank)]


def micro_batches(
    step: Sequence[int], lengths: Sequence[int], rank: int, world_size: int, micro_batch_tokens: int
) -> list[list[int]]:
    """A rank's passes of a step. Every rank gets equally many; an empty one is a pass without weight."""
    passes = [_passes(rank_share(step, lengths, r, world_size), lengths, micro_batch_tokens) for r in range(world_size)]
    mine = passes[rank]
    return mine + [[]] * (max(map(len, passes)) - len(mine))


def _passes(longest_first: Sequence[int], lengths: Sequence[int], micro_batch_tokens: int) -> list[list[int]]:
    passes: list[list[int]] = []
    for index in longest_first:
        if passes and padded_length(lengths[passes[-1][0]]) * (len(passes[-1]) + 1) <= micro_batch_tokens:
            passes[-1].append(index)
        else:
            passes.append([index])
    return passes


def collate(sequences: Sequence[TrainingSequence], weightings: Sequence[str]) -> Batch:
    """Arrays of one pass. ``weightings[s]`` names the weights of term s. Tokens of zero weight are left out of N."""
    columns = padded_length(max(map(len, sequences)))
    input_ids = np.zeros((len(sequences), columns), np.int64)
    positions, labels, weights = [], [], []
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence.token_ids
        stacked = np.stack([sequence.weights[name] for name in weightings])
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
