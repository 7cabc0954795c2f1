"""The retrieval service: what a recipe says of it, the server that answers queries, and how its clients reach it.

    corpus ──▶ index on disk ──▶ server, one or several ──▶ client of a worker ──▶ the worker's agents

A server is a plain class. Servers on one machine share one copy of the index in the page cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.errors import Boundary, boundary
from rollout.tools.retrieval.build import Progress, built, ignore
from rollout.tools.retrieval.client import Backend, ClientConfig, RetrievalClient, hits_text
from rollout.tools.retrieval.dense import DenseConfig, DenseIndex, built_vectors
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.index import RetrievalIndex, Retriever
from rollout.tools.retrieval.lexical import LexicalConfig

Search = Callable[[str], str]
"""A query to what an agent reads of its hits; blocks until they are there.

Raises:
    EpisodeError: of the boundary ``tool``, when the service has not answered any attempt.
"""
_LOOP_S = 5.0
"""How much longer than the client a thread waits: its event loop may be busy."""


class RetrievalConfig(BaseModel):
    """What agents can search, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str
    """A title/text dump (.jsonl, .jsonl.gz, .parquet, a folder of them), or the folder of its index."""
    index_dir: str | None = None
    """Where the index is kept; None is below ``$STILLHOUSE_CACHE``, else ``~/.cache/stillhouse``."""
    kind: Literal["bm25", "dense"] = "bm25"
    """By words, or by the vectors of an encoder (extra ``dense``)."""
    bm25: LexicalConfig = LexicalConfig()
    dense: DenseConfig = DenseConfig()
    k: int = Field(3, ge=1, le=100)
    """Hits of a search."""
    max_characters: int = Field(2000, ge=100)
    """What an agent reads of one search, at most; hits share it."""
    client: ClientConfig = ClientConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "bm25" and self.dense != DenseConfig():
            raise ValueError("dense is read with kind: dense only; set kind: dense or leave dense out")
        if self.kind == "dense" and self.bm25 != LexicalConfig():
            raise ValueError("bm25 is read with kind: bm25 only; set kind: bm25 or leave bm25 out")
        return self

    def build(self, progress: Progress = ignore) -> None:
        """Build what is missing of the index on this machine; two processes do not do it twice.

        Raises:
            UserError: the corpus is missing or damaged, or what the encoder needs is not there.
        """
        folder = built(self.corpus, self.index_dir, self.bm25, progress=progress)
        if self.kind == "dense":
            built_vectors(folder, self.dense, progress=progress)

    def open(self) -> Retriever:
        """The index, memory-mapped. Raises `UserError` if it is damaged, and as `build`, which it does first."""
        folder = built(self.corpus, self.index_dir, self.bm25)
        documents = RetrievalIndex.open(folder)
        if self.kind == "bm25":
            return documents
        return DenseIndex.open(documents, built_vectors(folder, self.dense), self.dense)


class RetrievalServer:
    """Answers batches of queries (`rollout.tools.retrieval.index.Retriever`); a replica of the service."""

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._retriever: Retriever | None = None

    def start(self) -> None:
        """Open the index. Raises `UserError` if there is none to be had."""
        self._retriever = self._config.open()

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
