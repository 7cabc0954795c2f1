"""Settings of the retrieval service: the corpus, its index and the clients. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rollout.frozen_model import FrozenModel, reject


class LexicalConfig(FrozenModel):
    """Parameters of BM25."""

    k1: float = Field(1.2, ge=0)
    """Term frequency saturation: higher values give repeated words more weight."""
    b: float = Field(0.75, ge=0, le=1)
    """Document length normalization: higher values penalize long documents more."""
    title_weight: int = Field(3, ge=0)
    """Weight of a word in the title, in occurrences."""


class DenseConfig(FrozenModel):
    """The encoder and its text prefixes (E5 models need ``query: `` and ``passage: ``)."""

    encoder: str = "intfloat/e5-base-v2"
    """Folder or hub name of the encoder."""
    query_prefix: str = ""
    document_prefix: str = ""
    batch_size: int = Field(64, ge=1)
    device: str | None = None
    """Device of the encoder; None lets the library choose."""


class ClientConfig(FrozenModel):
    """Timeouts, retries and batching of a client."""

    timeout_s: float = Field(10.0, gt=0)
    """Time limit of one attempt."""
    retries: int = Field(2, ge=0)
    """Attempts after the first one."""
    retry_wait_s: float = Field(0.1, ge=0)
    """Wait before the first retry; it doubles for each further one."""
    batch_size: int = Field(64, ge=1)
    """Maximum number of queries in a batch."""
    batch_wait_s: float = Field(0.002, ge=0)
    """Time that the first query of a batch waits for others."""

    @property
    def longest_wait_s(self) -> float:
        """Maximum time from a query to its answer or to the failure of the last attempt."""
        waits_s = sum(self.retry_wait_s * 2.0**retry for retry in range(self.retries))
        return self.batch_wait_s + (self.retries + 1) * self.timeout_s + waits_s


class RetrievalConfig(FrozenModel):
    """The corpus that agents search, its index and its clients."""

    corpus: str
    """A title/text dump (.jsonl, .jsonl.gz, .parquet or a folder of them), or the folder of an index."""
    index_dir: str | None = None
    """Folder of the index, or of the vectors if ``corpus`` is an index; None uses a folder below ``$STILLHOUSE_CACHE``
    or ``~/.cache/stillhouse``."""
    kind: Literal["bm25", "dense"] = "bm25"
    """Search by words (BM25) or by the vectors of an encoder (extra ``dense``)."""
    bm25: LexicalConfig = LexicalConfig()
    dense: DenseConfig = DenseConfig()
    k: int = Field(3, ge=1, le=100)
    """Maximum number of hits per search."""
    max_characters: int = Field(2000, ge=100)
    """Maximum length of the text that an agent reads per search, shared by its hits."""
    client: ClientConfig = ClientConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        reject(
            (
                self.kind == "bm25" and self.dense != DenseConfig(),
                "dense is read with kind: dense only; set kind: dense or leave dense out",
            ),
            (
                self.kind == "dense" and self.bm25 != LexicalConfig(),
                "bm25 is read with kind: bm25 only; set kind: bm25 or leave bm25 out",
            ),
        )
        return self
