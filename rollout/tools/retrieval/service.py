"""The retrieval service: what a recipe says of it, the server that answers queries, and how its clients reach it.

    corpus ──▶ index on disk ──▶ server, one or several ──▶ client of a worker ──▶ the worker's agents

A server is a plain class. Servers on one machine share one copy of the index in the page cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollout.errors import Boundary, boundary
from rollout.tools.retrieval.build import Progress, built, ignore
from rollout.tools.retrieval.client import Backend, RetrievalClient, hits_text
from rollout.tools.retrieval.config import RetrievalConfig
from rollout.tools.retrieval.dense import DenseIndex, built_vectors
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.index import RetrievalIndex, Retriever

Search = Callable[[str], str]
"""A query to what an agent reads of its hits; blocks until they are there.

Raises:
    EpisodeError: of the boundary ``tool``, when the service has not answered any attempt.
"""
_LOOP_S = 5.0
"""How much longer than the client a thread waits: its event loop may be busy."""


def build_index(config: RetrievalConfig, progress: Progress = ignore) -> None:
    """Build what is missing of the index on this machine; two processes do not do it twice.

    Raises:
        UserError: the corpus is missing or damaged, or what the encoder needs is not there.
    """
    folder = built(config.corpus, config.index_dir, config.bm25, progress=progress)
    if config.kind == "dense":
        built_vectors(folder, config.dense, progress=progress)


def open_index(config: RetrievalConfig) -> Retriever:
    """The index, memory-mapped. Raises `UserError` if it is damaged, and as `build_index`, which it does first."""
    folder = built(config.corpus, config.index_dir, config.bm25)
    documents = RetrievalIndex.open(folder)
    if config.kind == "bm25":
        return documents
    return DenseIndex.open(documents, built_vectors(folder, config.dense), config.dense)


class RetrievalServer:
    """Answers batches of queries (`rollout.tools.retrieval.index.Retriever`); a replica of the service."""

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._retriever: Retriever | None = None

    def start(self) -> None:
        """Open the index. Raises `UserError` if there is none to be had."""
        self._retriever = open_index(self._config)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query up to ``k`` hits, best first. Opens the index if it was not: a restarted one was not."""
        if self._retriever is None:
            self.start()
        assert self._retriever is not None
        return self._retriever.search(queries, k)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs: what a worker is given. ``replicas`` answer queries, from anywhere."""

    config: RetrievalConfig
    replicas: tuple[Backend, ...]

    def connect(self) -> Search:
        """A search for environments, which step in threads; all share one client, on the event loop that runs now."""
        config, loop = self.config, asyncio.get_running_loop()
        client = RetrievalClient(self.replicas, config.client)
        wait_s = config.client.longest_wait_s + _LOOP_S

        def search(query: str) -> str:
            with boundary(Boundary.TOOL):
                found = asyncio.run_coroutine_threadsafe(client.search(query, config.k), loop).result(wait_s)
            return hits_text(found, config.max_characters)

        return search
