"""Benchmark of searches in a large index of generated HotpotQA pages."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rollout.environments.hotpotqa.generator import generate_wiki
from rollout.environments.hotpotqa.wiki import Wiki
from rollout.tools.retrieval.build import build_index
from rollout.tools.retrieval.index import RetrievalIndex

_WORDS = 6
_WARM_UP = 20


class SearchTimes(NamedTuple):
    """Median milliseconds per search for each kind of query, and the cost of the index.

    Attributes:
        search_ms: median over an equal number of queries of all three kinds.
        title_ms: titles of existing pages.
        similar_ms: unknown titles, for which similar ones are searched.
        words_ms: six words from the middle of a page.
        build_s: seconds to build the index.
        index_bytes: size of the index on disk.
        pages: number of indexed pages.
    """

    search_ms: float
    title_ms: float
    similar_ms: float
    words_ms: float
    build_s: float
    index_bytes: int
    pages: int


def measure_search(pages: int = 100_000, queries: int = 500, seed: int = 0) -> SearchTimes:
    """Build an index of a generated encyclopaedia in a temporary folder, and search it."""
    made = generate_wiki("train", pages, seed, 0).pages
    with TemporaryDirectory() as name:
        folder = Path(name) / "index"
        started = time.perf_counter()
        build_index(made, folder)
        build_s = time.perf_counter() - started
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        times = _search_times(RetrievalIndex.open(folder), queries, Random(seed))
    all_ms = statistics.median([ms for values in times.values() for ms in values])
    title_ms, similar_ms, words_ms = (statistics.median(times[kind]) for kind in ("title", "similar", "words"))
    return SearchTimes(all_ms, title_ms, similar_ms, words_ms, build_s, size, len(made))


def _search_times(index: RetrievalIndex, queries: int, rng: Random) -> Mapping[str, Sequence[float]]:
    documents = [index[rng.randrange(len(index))] for _ in range(queries)]
    wiki = Wiki(index)
    return {
        "title": _times(wiki.search, [document.title for document in documents]),
        "similar": _times(wiki.search, [f"[{document.title}]" for document in documents]),
        "words": _times(wiki.search, [_some_words(document.text, rng) for document in documents]),
    }


def _some_words(text: str, rng: Random) -> str:
    words = text.split()
    start = rng.randrange(max(1, len(words) - _WORDS))
    return " ".join(words[start : start + _WORDS])


def _times(search: Callable[[str], str], queries: Sequence[str]) -> list[float]:
    """Milliseconds of each query, after a warm-up."""
    for query in queries[:_WARM_UP]:
        search(query)
    times = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        times.append(1e3 * (time.perf_counter() - started))
    return times
