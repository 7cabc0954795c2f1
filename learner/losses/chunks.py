"""Divides the trained tokens of a micro-batch into chunks whose logits fit in a fixed number of bytes. Uses no torch.

Dimensions: N predicted tokens, G groups of terms that share a divergence, M tokens with teacher scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from learner.data.batching import Batch
from learner.terms import Term, ULDTerm

CHUNK_BYTES = {"cpu": 64 << 20}
"""Bytes of one float32 array of a chunk's logits by device type. A loss holds a few of them."""
OTHER_CHUNK_BYTES = 128 << 20
"""The same for GPUs: every chunk reads the head's weight once and its gradient twice, which costs more there."""


def chunk_rows(vocabulary: int, device_type: str) -> int:
    """Maximum number of tokens of a chunk."""
    return max(1, CHUNK_BYTES.get(device_type, OTHER_CHUNK_BYTES) // (4 * vocabulary))


def term_groups(terms: Sequence[Term]) -> list[list[int]]:
    """Indices of the terms that are evaluated together: those with the same divergence, signal and parameters."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, term in enumerate(terms):
        groups.setdefault((term.divergence, term.signal, *sorted(term.parameters.items())), []).append(index)
    return list(groups.values())


def group_weights(batch: Batch, group: Sequence[int], coefficients: Sequence[float]) -> NDArray[np.float32]:
    """Return ``[N]``: the summed weight of each token in the terms of a group."""
    return sum(
        (np.float32(coefficients[s]) * batch.weights[s] for s in group), np.zeros(batch.weights.shape[1], np.float32)
    )


def chunks(batch: Batch, terms: Sequence[Term], coefficients: Sequence[float], max_rows: int) -> list[Batch]:
    """Divide the tokens with weight into batches of at most ``max_rows`` of them, of about equal size.

    There is at least one chunk; it is empty if no token has weight.

    The tokens of a chunk are used by the same terms, so that no term has to copy its rows of the logits. Groups of
    tokens that ULD compares as a whole are not split; only a group longer than ``max_rows`` makes a larger chunk.
    """
    used_GN = np.stack([group_weights(batch, group, coefficients) != 0 for group in term_groups(terms)])
    codes = (used_GN * (1 << np.arange(len(used_GN)))[:, None]).sum(axis=0)
    starts = np.arange(len(codes))
    if any(isinstance(term, ULDTerm) for term in terms) and len(batch.teacher_rows):
        starts = _starts_of_aligned_groups(batch)
        joined = np.zeros_like(codes)
        np.bitwise_or.at(joined, starts, codes)
        codes = joined[starts]
    parts = [
        rows[start:end]
        for code in np.unique(codes[codes > 0])
        for rows in [np.flatnonzero(codes == code)]
        for start, end in _cuts(starts[rows], max_rows)
    ]
    return [_rows_of(batch, rows) for rows in parts or [np.zeros(0, np.int64)]]


def _starts_of_aligned_groups(batch: Batch) -> NDArray[np.int64]:
    """Return ``[N]``: the first row of the aligned group that a row belongs to, or the row itself."""
    rows = np.arange(len(batch.positions))
    group = np.searchsorted(batch.teacher_rows, rows, side="right") - 1
    first = batch.teacher_rows[group]
    return np.where((group >= 0) & (rows - first < batch.teacher_sizes[group]), first, rows)


def _cuts(starts: NDArray[np.int64], max_rows: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each chunk. Rows with the same entry of ``starts`` stay together."""
    count = len(starts)
    allowed = [*np.flatnonzero(np.diff(starts, prepend=-1)).tolist(), count]
    size = -(-count // -(-count // max_rows))
    begin = 0
    while begin < count:
        last = int(np.searchsorted(allowed, begin + size, side="right")) - 1
        end = allowed[last] if allowed[last] > begin else allowed[last + 1]
        yield begin, end
        begin = end


def _rows_of(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """The batch with some of its predicted tokens, in ascending order."""
    wanted = np.isin(batch.teacher_rows, rows)
    return dataclasses.replace(
        batch,
        positions=batch.positions[rows],
        labels=batch.labels[rows],
        weights=batch.weights[:, rows],
        teacher_rows=np.searchsorted(rows, batch.teacher_rows[wanted]),
        teacher_sizes=batch.teacher_sizes[wanted],
        teacher_ids=batch.teacher_ids[wanted],
        teacher_logprobs=batch.teacher_logprobs[wanted],
        teacher_tail=batch.teacher_tail[wanted],
    )
