"""BM25 as Lucene computes it, over arrays that may be memory-mapped.

    score(q, d) = sum over t of count_q(t) * idf(t) * tf / (tf + k1 * (1 - b + b * length(d) / mean_length))
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)),   k1 = 0.9, b = 0.4

Lengths are quantized to eight bits and the factors are 32-bit floats, as in Lucene 8, so that ties are the same.

Documents are numbered so that similar ones are adjacent, and divided into blocks of `BLOCK`. For each block the index
stores the maximum contribution of a term, so that a search reads the blocks with the highest bounds and stops when no
other block can contain one of the best documents. The result is exact.

Source: A. Mallia, T. Suel, N. Tonellotto, Faster learned sparse retrieval with block-max pruning, 2024.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

K1, B = np.float32(0.9), np.float32(0.4)
BLOCK = 256
"""Number of documents in a block."""
_EXACT = 24
"""Lengths below this are stored exactly."""
_LEVELS = 255
"""Number of quantization steps of a term's bounds."""
_MARGIN = 1 - 1e-6
"""Scores within this factor may be equal as 32-bit floats."""
_FIRST_BLOCKS, _GROWTH, _MOST_BLOCKS = 16, 4, 1024
"""Number of blocks in the first read, growth factor of each further read, and maximum number in one read."""


def length_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Quantized lengths: ``[num_documents]``; four significant bits above 24."""
    above = np.maximum(lengths - _EXACT, 0)
    bits = np.where(above > 0, np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) + 1, 0)
    shift = np.maximum(bits - 4, 0)
    coded = np.where(bits < 4, above, ((above >> shift) & 7) | ((shift + 1) << 3))
    return np.where(lengths < _EXACT, lengths, _EXACT + coded).astype(np.uint8)


def coded_lengths() -> NDArray[np.float32]:
    """The length of each of the 256 codes: ``[256]``."""
    code = np.arange(256) - _EXACT
    shift = (code >> 3) - 1
    above = np.where(shift < 0, code & 7, ((code & 7) | 8) << np.maximum(shift, 0))
    return np.where(code < 0, code + _EXACT, _EXACT + above).astype(np.float32)


def length_norms(mean_length: float) -> NDArray[np.float32]:
    """``k1 * (1 - b + b * length / mean_length)`` for each code: ``[256]``."""
    norms = K1 * ((np.float32(1) - B) + B * (coded_lengths() / np.float32(mean_length)))
    return norms.astype(np.float32)


def saturation(tf: NDArray[np.uint16], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """``tf / (tf + norm)`` of each posting, computed in 64 bits and rounded to a 32-bit float."""
    wide = tf.astype(np.float64)
    return (wide / (wide + norms)).astype(np.float32)


def term_key(term: str) -> int:
    """64-bit hash of a term."""
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def num_blocks(num_documents: int) -> int:
    """Number of blocks; the last one may have fewer documents."""
    return -(-num_documents // BLOCK)


def is_long(frequencies: NDArray[np.int64], num_documents: int) -> NDArray[np.bool_]:
    """Which terms have a row in the block tables: those with at least one posting per block on average."""
    return frequencies >= max(num_blocks(num_documents), 1)


def block_row(
    documents: NDArray[np.int32], factors: NDArray[np.float32], num_documents: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bounds and start offsets of the blocks of a term's list.

    Returns:
        The maximum factor in each block, in 255ths of the overall maximum, rounded up: ``[num_blocks]``,
        and the start of each block in the list: ``[num_blocks + 1]``.
    """
    blocks = num_blocks(num_documents)
    tops = np.zeros(blocks, np.float32)
    np.maximum.at(tops, documents // BLOCK, factors)
    starts = np.searchsorted(documents, np.arange(blocks + 1, dtype=np.int32) * BLOCK)
    return np.ceil(tops / tops.max() * _LEVELS).astype(np.uint8), starts.astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Lists:
    """The indexed terms of a query: their weights and the positions of their lists."""

    weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    tops: NDArray[np.float32]
    rows: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index.

    Attributes:
        keys: `term_key` of each term, ascending: ``[num_terms]``.
        starts: start of the list of each term: ``[num_terms + 1]``.
        documents: document numbers, ascending within each list: ``[num_postings]``.
        factors: `saturation` of each posting: ``[num_postings]``.
        tops: maximum factor of each term: ``[num_terms]``.
        rows: row of each term in the block tables; -1 if not `is_long`: ``[num_terms]``.
        block_tops: first part of the `block_row` of each long term: ``[num_long, num_blocks]``.
        block_starts: second part: ``[num_long, num_blocks + 1]``.
        places: external position of each document number: ``[num_documents]``.
        ranks: order of documents with equal scores, smallest first: ``[num_documents]``.
    """

    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    factors: NDArray[np.float32]
    tops: NDArray[np.float32]
    rows: NDArray[np.int32]
    block_tops: NDArray[np.uint8]
    block_starts: NDArray[np.int32]
    places: NDArray[np.int32]
    ranks: NDArray[np.int32]

    def search(self, terms: Sequence[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions and scores of at most ``count`` best documents, best first; empty for unknown terms."""
        lists, best, size = self._lists(terms), _Best(count), _FIRST_BLOCKS
        bounds = self._bounds(lists)
        left = np.flatnonzero(bounds)
        while len(left):
            blocks, left = _split(left, bounds, size)
            best.add(*self._score(lists, blocks))
            left = left[bounds[left] >= best.least]
            size = min(size * _GROWTH, _MOST_BLOCKS)
        scores = best.scores.astype(np.float32)
        order = np.lexsort((self.ranks[best.documents], -scores))[:count]
        return self.places[best.documents[order]].astype(np.int64), scores[order]

    def _lists(self, terms: Sequence[str]) -> _Lists:
        counts = Counter(terms)
        keys = np.array([term_key(term) for term in counts], np.uint64)
        found = np.searchsorted(self.keys, keys, side="right") - 1  # -1 is the last key, which differs
        known = self.keys[found] == keys if len(self.keys) else np.zeros(len(keys), np.bool_)
        found, times = found[known], np.array(list(counts.values()), np.float32)[known]
        starts, ends = self.starts[found], self.starts[found + 1]
        return _Lists(times * self._idf(ends - starts), starts, ends, self.tops[found], self.rows[found])

    def _idf(self, frequencies: NDArray[np.int64]) -> NDArray[np.float32]:
        idf = [math.log(1 + (len(self.ranks) - df + 0.5) / (df + 0.5)) for df in frequencies.tolist()]
        return np.array(idf, np.float32)

    def _bounds(self, lists: _Lists) -> NDArray[np.float32]:
        """Maximum score of a document in each block; 0 if no term occurs: ``[num_blocks]``."""
        bounds = np.zeros(num_blocks(len(self.ranks)), np.float32)
        for most, row, start, end in zip(lists.weights * lists.tops, lists.rows, lists.starts, lists.ends, strict=True):
            if row >= 0:
                bounds += self.block_tops[row] * (most / np.float32(_LEVELS))
            else:
                bounds[self.documents[start:end] // BLOCK] += most  # assigned once per block
        return bounds * np.float32(1 + 1e-5)  # covers all rounding errors

    def _score(self, lists: _Lists, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """All documents of ``blocks`` that contain a term, and their scores before the final rounding."""
        starts, ends = self._spans(lists, blocks)
        sizes = (ends - starts).ravel()
        steps = np.cumsum(sizes)
        postings = np.repeat(starts.ravel() - steps + sizes, sizes)
        postings += np.arange(steps[-1])
        weights = np.repeat(lists.weights, (ends - starts).sum(axis=1))
        weights *= self.factors.take(postings)
        moved: NDArray[np.int64] = (np.arange(len(blocks)) - blocks) * BLOCK  # offset from document number to slot
        slots = np.repeat(np.tile(moved, len(lists.weights)), sizes)
        slots += self.documents.take(postings)
        scores = np.bincount(slots, weights).astype(np.float64, copy=False)
        met = np.flatnonzero(scores)
        return met - moved[met // BLOCK], scores[met]

    def _spans(self, lists: _Lists, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of the postings of each list and block: two arrays ``[num_lists, num_blocks]``."""
        first = (blocks * BLOCK).astype(np.int32)  # same type as the lists, which avoids a conversion
        spans = np.empty((2, len(lists.weights), len(blocks)), np.int64)
        for number, (row, start, end) in enumerate(zip(lists.rows, lists.starts, lists.ends, strict=True)):
            if row >= 0:
                places = self.block_starts[row]
                spans[:, number] = places[blocks], places[blocks + 1]
            else:
                documents = self.documents[start:end]
                spans[:, number] = np.searchsorted(documents, first), np.searchsorted(documents, first + BLOCK)
        spans += lists.starts[:, None]
        return spans[0], spans[1]


def _split(
    blocks: NDArray[np.int64], bounds: NDArray[np.float32], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ``size`` blocks with the highest bounds, and the others."""
    if len(blocks) <= size:
        return blocks, blocks[:0]
    order = np.argpartition(bounds[blocks], -size)
    return np.sort(blocks[order[-size:]]), blocks[order[:-size]]


class _Best:
    """Candidates for the best ``count`` documents."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.documents, self.scores = np.zeros(0, np.int64), np.zeros(0)
        self.least = 0.0
        """Minimum score of a document that can be among the best."""

    def add(self, documents: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        keep = scores >= self.least
        self.documents = np.concatenate([self.documents, documents[keep]])
        self.scores = np.concatenate([self.scores, scores[keep]])
        if len(self.scores) > self._count:
            self.least = float(np.partition(self.scores, -self._count)[-self._count]) * _MARGIN
            keep = self.scores >= self.least
            self.documents, self.scores = self.documents[keep], self.scores[keep]
