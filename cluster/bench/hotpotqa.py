"""Benchmark of searches in a large index of generated HotpotQA pages."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from cluster.bench.result import call_ms
from rollout.environments.hotpotqa.generator import generate_wiki
from rollout.environments.hotpotqa.wiki import Wiki
from rollout.tools.retrieval.build import build_index
from rollout.tools.retrieval.index import RetrievalIndex

_WORDS = 6
_WARM_UP = 20


def measure_search_ms(pages: int = 100_000, queries: int = 500, seed: int = 0) -> float:
    """Median milliseconds of a search in an index of generated pages, which is built in a temporary folder.

    The queries are, in equal numbers, titles of pages, unknown titles, for which similar ones are searched, and six
    words from the middle of a page.
    """
    with TemporaryDirectory() as name:
        build_index(generate_wiki("train", pages, seed, 0).pages, Path(name, "index"))
        index, rng = RetrievalIndex.open(Path(name, "index")), Random(seed)
        documents = [index[rng.randrange(len(index))] for _ in range(queries)]
        titles = [document.title for document in documents]
        similar = [f"[{document.title}]" for document in documents]
        words = [_some_words(document.text, rng) for document in documents]
        return median(ms for kind in (titles, similar, words) for ms in _times_ms(Wiki(index), kind))


def _some_words(text: str, rng: Random) -> str:
    words = text.split()
    start = rng.randrange(max(1, len(words) - _WORDS))
    return " ".join(words[start : start + _WORDS])


def _times_ms(wiki: Wiki, queries: list[str]) -> list[float]:
    """Milliseconds of each query, after a warm-up."""
    for query in queries[:_WARM_UP]:
        wiki.search(query)
    return [call_ms(partial(wiki.search, query)) for query in queries]
