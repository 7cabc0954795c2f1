"""Settings of the retrieval service: the corpus, its index and the clients. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rollout.frozen_model import FrozenModel


class LexicalConfig(FrozenModel):
    """How words count."""

    k1: float = Field(1.2, ge=0)
    """How slowly a repeated word stops to count more."""
    b: float = Field(0.75, ge=0, le=1)
    """How much long documents are marked down."""
    title_weight: int = Field(3, ge=0)
    """How many times a word of the title counts."""


class DenseConfig(FrozenModel):
    """Which encoder, and what is put before texts (E5 models want ``query: `` and ``passage: ``)."""

    encoder: str = "intfloat/e5-base-v2"
    """Folder or hub name."""
    query_prefix: str = ""
    document_prefix: str = ""
    batch_size: int = Field(64, ge=1)
    device: str | None = None
    """Of the encoder; None lets the library choose."""


class ClientConfig(FrozenModel):
    """How long a client waits, and how it gathers queries."""

    timeout_s: float = Field(10.0, gt=0)
    """For one attempt."""
    retries: int = Field(2, ge=0)
    """Attempts after the first one."""
    retry_wait_s: float = Field(0.1, ge=0)
    """Before the first retry; doubled before each further one."""
    batch_size: int = Field(64, ge=1)
    """Queries sent at once, at most."""
    batch_wait_s: float = Field(0.002, ge=0)
    """How long the first query of a batch waits for others."""

    @property
    def longest_wait_s(self) -> float:
        """From a question to its answer or to the failure of the last attempt."""
        waits_s = sum(self.retry_wait_s * 2.0**retry for retry in range(self.retries))
        return self.batch_wait_s + (self.retries + 1) * self.timeout_s + waits_s


class RetrievalConfig(FrozenModel):
    """What agents can search, and how."""

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
