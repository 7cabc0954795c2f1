"""BM25 as Lucene computes it, over arrays that may be memory-mapped.

    score(q, d) = sum over t of count_q(t) * idf(t) * tf / (tf + k1 * (1 - b + b * length(d) / mean_length))
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)),   k1 = 0.9, b = 0.4

Lengths are quantised to eight bits and the factors are 32-bit floats, as in Lucene 8, so that ties fall as
they do there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

K1, B = np.float32(0.9), np.float32(0.4)
_EXACT = 24
"""Lengths below this are kept as they are."""
_MARGIN = 1 - 1e-6
"""Scores that differ by less may be equal as 32-bit floats."""


def length_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Quantised lengths: ``[num_documents]``; four significant bits above 24."""
    above = np.maximum(lengths - _EXACT, 0)
    bits = np.where(above > 0, np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) + 1, 0)
    shift = np.maximum(bits - 4, 0)
    coded = np.where(bits < 4, above, ((above >> shift) & 7) | ((shift + 1) << 3))
    return np.where(lengths < _EXACT, lengths, _EXACT + coded).astype(np.uint8)


def coded_lengths() -> NDArray[np.float32]:
    """The length that each of the 256 codes stands for."""
    code = np.arange(256) - _EXACT
    shift = (code >> 3) - 1
    above = np.where(shift < 0, code & 7, ((code & 7) | 8) << np.maximum(shift, 0))
    return np.where(code < 0, code + _EXACT, _EXACT + above).astype(np.float32)


def length_norms(mean_length: float) -> NDArray[np.float32]:
    """``k1 * (1 - b + b * length / mean_length)`` for each code: ``[256]``."""
    norms = K1 * ((np.float32(1) - B) + B * (coded_lengths() / np.float32(mean_length)))
    return norms.astype(np.float32)


def saturation(tf: NDArray[np.uint16], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """``tf / (tf + norm)`` of each posting, from 64-bit arithmetic to a 32-bit float."""
    wide = tf.astype(np.float64)
    return (wide / (wide + norms)).astype(np.float32)


def term_key(term: str) -> int:
    """64 bits that stand for a term."""
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class _List:
    """One term of a query: weighted, with what it can add at most."""

    weight: np.float32
    upper: float
    documents: NDArray[np.int32]
    factors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index.

    Attributes:
        keys: `term_key` of each term, ascending: ``[num_terms]``.
        starts: where the list of each term begins: ``[num_terms + 1]``.
        documents: ascending within each list: ``[num_postings]``.
        factors: `saturation` of each posting: ``[num_postings]``.
        tops: the greatest factor of each term: ``[num_terms]``.
        ranks: order among documents of equal score, smallest first: ``[num_documents]``.
    """

    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    factors: NDArray[np.float32]
    tops: NDArray[np.float32]
    ranks: NDArray[np.int32]

    def search(self, terms: Sequence[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best documents and their scores, best first, at most ``count``; none for terms that nothing has.

        Lists that could add little are read only for documents that can still be among the best.
        """
        lists = self._lists(terms)
        left = total = sum(part.upper for part in lists)
        scores = np.zeros(len(self.ranks))
        met: list[NDArray[np.int32]] = []
        bound = 0.0
        for number, part in enumerate(lists):
            if bound > left:
                return self._finish(_Candidates.of(met, scores, bound - left), lists[number:], count)
            scores[part.documents] += part.weight * part.factors
            met.append(part.documents)
            left -= part.upper
            if total - left > left:  # else no document can have more than what is left
                bound = _lower_bound(scores, met, count)
        return self._finish(_Candidates.of(met, scores, bound), (), count)

    def _finish(
        self, found: _Candidates, rest: Sequence[_List], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        left = sum(part.upper for part in rest)
        for part in rest:
            found.add(part)
            left -= part.upper
            found.keep_best(count, left)
        scores = found.scores.astype(np.float32)
        order = np.lexsort((self.ranks[found.documents], -scores))[:count]
        return found.documents[order].astype(np.int64), scores[order]

    def _lists(self, terms: Sequence[str]) -> list[_List]:
        """The lists of the terms that occur, those that can add most first."""
        lists = []
        for term, times in Counter(terms).items():
            key = np.uint64(term_key(term))
            place = int(np.searchsorted(self.keys, key))
            if place < len(self.keys) and self.keys[place] == key:
                start, end = int(self.starts[place]), int(self.starts[place + 1])
                frequency = end - start
                idf = np.float32(np.log(1 + (len(self.ranks) - frequency + 0.5) / (frequency + 0.5)))
                weight = np.float32(times) * idf
                upper = float(weight) * float(self.tops[place]) * (1 + 1e-6)
                lists.append(_List(weight, upper, self.documents[start:end], self.factors[start:end]))
        return sorted(lists, key=lambda part: (-part.upper, len(part.documents)))


@dataclass(slots=True)
class _Candidates:
    """Documents that can be among the best, each once, and their scores so far."""

    documents: NDArray[np.int32]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, met: Sequence[NDArray[np.int32]], scores: NDArray[np.float64], bound: float) -> _Candidates:
        """Those of at least ``bound``; ``scores`` are used up."""
        found, values = [np.zeros(0, np.int32)], [np.zeros(0)]
        for documents in met:
            mine = scores[documents]
            keep = mine >= bound
            found.append(documents[keep])
            values.append(mine[keep])
            scores[found[-1]] = -1.0  # not again from another list
        return cls(np.concatenate(found), np.concatenate(values))

    def add(self, part: _List) -> None:
        """Add what a list gives to the documents that it has."""
        places = np.minimum(np.searchsorted(part.documents, self.documents), len(part.documents) - 1)
        has = part.documents[places] == self.documents
        self.scores[has] += part.weight * part.factors[places[has]]

    def keep_best(self, count: int, left: float) -> None:
        """Drop documents that cannot come among the best even with all that is left."""
        if len(self.scores) > count:
            keep = self.scores >= np.partition(self.scores, -count)[-count] * _MARGIN - left
            self.documents, self.scores = self.documents[keep], self.scores[keep]


def _lower_bound(scores: NDArray[np.float64], met: Sequence[NDArray[np.int32]], count: int) -> float:
    """A score that at least ``count`` documents have: the best such bound that one of the first lists gives."""
    bounds = [
        float(np.partition(scores[documents], -count)[-count]) for documents in met[:3] if len(documents) >= count
    ]
    return max(bounds, default=0.0) * _MARGIN
