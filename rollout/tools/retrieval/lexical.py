"""BM25 over rows of words with bm25s. Only this file imports that library."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rollout.tools.retrieval.config import LexicalConfig
from rollout.tools.retrieval.words import words

_BLOCK = 64


class WordRows:
    """The words of documents as integer ids, added document by document; 4 bytes per word."""

    def __init__(self, title_weight: int) -> None:
        self.rows: list[array[int]] = []
        self.vocabulary: dict[str, int] = {}
        self._title_weight = title_weight

    def add(self, title: str, text: str) -> None:
        vocabulary = self.vocabulary
        found = words(title) * self._title_weight + words(text)
        self.rows.append(array("i", (vocabulary.setdefault(word, len(vocabulary)) for word in found)))


class LexicalIndex:
    """A thread-safe BM25 index."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer
        self._vocabulary: Mapping[str, int] = scorer.vocab_dict

    @classmethod
    def build(cls, rows: WordRows, config: LexicalConfig) -> LexicalIndex:
        """Build an index of at least one document."""
        from bm25s import BM25

        vocabulary, word_rows = rows.vocabulary, rows.rows
        if not vocabulary:  # no document has words: add a word that no query contains
            vocabulary, word_rows = {"": 0}, [array("i", [0]) for _ in word_rows]
        scorer = BM25(k1=config.k1, b=config.b, method="lucene")
        scorer.scores = scorer.build_index_from_ids(list(vocabulary.values()), word_rows, show_progress=False)
        scorer.vocab_dict = vocabulary
        return cls(scorer)

    def save(self, folder: Path) -> None:
        self._scorer.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> LexicalIndex:
        """Load an index, memory-mapped except for the vocabulary."""
        from bm25s import BM25

        return cls(BM25.load(folder, mmap=True, show_progress=False, allow_pickle=False))

    def top(self, query: str, k: int) -> list[tuple[int, float]]:
        """Return the best ``k`` rows that share a word with ``query``, with scores; ties are sorted by row."""
        known = [self._vocabulary[word] for word in words(query) if word in self._vocabulary]
        return top_rows(self._scorer.get_scores_from_ids(known), k) if known else []


def top_rows(scores: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Return the best ``k`` rows with positive scores; ties are sorted by row. ``scores``: [num_rows]."""
    if k < 1:
        return []
    bound = _bound(scores, k)
    rows: npt.NDArray[np.intp] = np.flatnonzero(scores >= bound if bound > 0 else scores > 0)
    best: Sequence[int] = np.lexsort((rows, -scores[rows]))[:k].tolist()
    return [(int(rows[i]), float(scores[rows[i]])) for i in best]


def _bound(scores: npt.NDArray[np.float32], k: int) -> float:
    """A lower bound of the k-th best score: the k-th largest of the block maxima.

    This is much cheaper than sorting all rows, because a query gives many rows a score.
    """
    num_blocks = len(scores) // _BLOCK
    if num_blocks <= k:
        return 0.0
    maxima = scores[: num_blocks * _BLOCK].reshape(num_blocks, _BLOCK).max(axis=1)
    return float(np.partition(maxima, num_blocks - k)[num_blocks - k])
