"""The retrieval service: preparing the index, the server that answers queries, and the connection of clients.

    corpus ──▶ index on disk ──▶ one or more servers ──▶ client of a worker ──▶ the worker's agents

A server is a plain class. Servers on one machine share one copy of the index in the page cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import Boundary, boundary
from rollout.tools.retrieval.build import Progress, default_folder, ensure_index, no_progress
from rollout.tools.retrieval.client import Backend, RetrievalClient, hits_text
from rollout.tools.retrieval.config import RetrievalConfig
from rollout.tools.retrieval.dense import DenseIndex, ensure_vectors
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.index import RetrievalIndex, Retriever

Search = Callable[[str], str]
"""Returns the text that an agent reads for a query; blocks until the hits arrive.

Raises:
    EpisodeError: all attempts failed; its boundary is ``tool``.
"""
_LOOP_DELAY_S = 5.0
"""Extra time that a thread waits in addition to the client, because the event loop may be busy."""


def prepare_index(config: RetrievalConfig, progress: Progress = no_progress) -> None:
    """Build the missing parts of the index on this machine, once for all processes.

    Raises:
        UserError: the corpus is missing or damaged, or a requirement of the encoder is missing.
    """
    folder = ensure_index(config.corpus, config.index_dir, config.bm25, progress=progress)
    if config.kind == "dense":
        ensure_vectors(folder, config.dense, _vectors_folder(config, folder), progress=progress)


def open_index(config: RetrievalConfig) -> Retriever:
    """Open the index, memory-mapped, after building missing parts. Raises `UserError` if that fails."""
    folder = ensure_index(config.corpus, config.index_dir, config.bm25)
    documents = RetrievalIndex.open(folder)
    if config.kind == "bm25":
        return documents
    vectors = ensure_vectors(folder, config.dense, _vectors_folder(config, folder))
    return DenseIndex.open(documents, vectors, config.dense)


def _vectors_folder(config: RetrievalConfig, index: Path) -> Path | None:
    """Where vectors are built; None inside an index that was built from a dump. An index of the user is only read."""
    if index != Path(config.corpus).expanduser():
        return None
    if config.index_dir is not None:
        return Path(config.index_dir).expanduser()
    built = default_folder(config.corpus)
    return built.with_name(f"{built.name}-vectors")


class RetrievalServer:
    """A replica of the service that answers batches of queries (`rollout.tools.retrieval.index.Retriever`)."""

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._retriever: Retriever | None = None

    def start(self) -> None:
        """Open the index. Raises `UserError` if that fails."""
        self._retriever = open_index(self._config)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to ``k`` hits for each query, best first. Opens the index if necessary, as after a restart."""
        if self._retriever is None:
            self.start()
        assert self._retriever is not None
        return self._retriever.search(queries, k)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service as passed to workers. ``replicas`` answer queries and can be called from any process."""

    config: RetrievalConfig
    replicas: tuple[Backend, ...]

    def connect(self) -> Search:
        """Create a search function for environments in threads. They share a client in the current event loop."""
        config, loop = self.config, asyncio.get_running_loop()
        client = RetrievalClient(self.replicas, config.client)
        wait_s = config.client.longest_wait_s + _LOOP_DELAY_S

        def search(query: str) -> str:
            with boundary(Boundary.TOOL):
                found = asyncio.run_coroutine_threadsafe(client.search(query, config.k), loop).result(wait_s)
            return hits_text(found, config.max_characters)

        return search
