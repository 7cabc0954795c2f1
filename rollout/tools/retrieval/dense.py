"""Dense retrieval: an encoder's vectors in a FAISS index (extra ``dense``). Only this file imports these libraries.

Any sentence-transformers or Hugging Face encoder works: sentence-transformers loads a plain encoder with mean pooling.
The documents are those of a lexical index, so that both use the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rollout.errors import UserError
from rollout.storage.atomic import atomic_write
from rollout.storage.locks import build_once
from rollout.tools.retrieval.build import Progress, no_progress
from rollout.tools.retrieval.config import DenseConfig
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.index import RetrievalIndex, read_meta

DENSE_VERSION = 1
_META, _VECTORS = "dense.json", "vectors.faiss"

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Encodes texts as normalized vectors."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors: ``[num_texts, num_dimensions]`` float32."""


class SentenceEncoder:
    """A sentence-transformers encoder, or a plain Hugging Face encoder with mean pooling."""

    def __init__(self, config: DenseConfig) -> None:
        try:
            from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise UserError(
                "dense retrieval needs sentence-transformers; install it with `pip install 'stillhouse[dense]'`"
            ) from error
        try:
            self._model: Any = SentenceTransformer(config.encoder, device=config.device, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"no encoder can be loaded from {config.encoder!r} ({error}); set encoder to a folder or hub name"
            ) from error
        self._batch_size = config.batch_size

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors = self._model.encode(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


class DenseIndex:
    """Finds documents by exact inner product search (`rollout.tools.retrieval.index.Retriever`)."""

    def __init__(self, documents: RetrievalIndex, vectors: Any, encoder: Encoder, config: DenseConfig) -> None:
        self._documents = documents
        self._vectors = vectors
        self._encoder = encoder
        self._config = config

    @classmethod
    def build(
        cls,
        documents: RetrievalIndex,
        folder: str | Path,
        config: DenseConfig,
        encoder: Encoder | None = None,
        progress: Progress = no_progress,
    ) -> DenseIndex:
        """Encode all documents and write their vectors to ``folder``, which holds nothing else."""
        faiss = _faiss()
        encoder = encoder or SentenceEncoder(config)
        vectors: Any = None
        for start in range(0, len(documents), config.batch_size):
            batch = [documents[row] for row in range(start, min(start + config.batch_size, len(documents)))]
            encoded = encoder.encode([f"{config.document_prefix}{d.title}\n{d.text}" for d in batch])
            vectors = vectors if vectors is not None else faiss.IndexFlatIP(encoded.shape[1])
            vectors.add(encoded)
            progress(start + len(batch))
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        faiss.write_index(vectors, str(path / _VECTORS))
        (path / _META).write_text(json.dumps(_meta(config, len(documents))), encoding="utf-8")
        return cls(documents, vectors, encoder, config)

    @classmethod
    def open(
        cls, documents: RetrievalIndex, folder: str | Path, config: DenseConfig, encoder: Encoder | None = None
    ) -> DenseIndex:
        """Open the vectors in ``folder``. Raises `UserError` if they are missing, damaged or do not match."""
        faiss, path = _faiss(), Path(folder).expanduser()
        try:
            meta = json.loads((path / _META).read_text(encoding="utf-8"))
            if meta != _meta(config, len(documents)):
                raise ValueError("they belong to another version, encoder or corpus")
            # IO_FLAG_MMAP maps only inverted lists; flat vectors would be copied into every process.
            vectors = faiss.read_index(str(path / _VECTORS), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"the vectors in {path} cannot be used ({error}); delete them and build again") from error
        return cls(documents, vectors, encoder or SentenceEncoder(config), config)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return the ``k`` nearest documents for each query."""
        if not queries or k < 1:
            return [[] for _ in queries]
        encoded = self._encoder.encode([f"{self._config.query_prefix}{query}" for query in queries])
        scores, rows = self._vectors.search(encoded, min(k, len(self._documents)))
        return [
            [self._documents[int(row)].hit(float(score)) for row, score in zip(found, values, strict=True)]
            for found, values in zip(rows, scores, strict=True)
        ]


def ensure_vectors(
    index: Path,
    config: DenseConfig,
    folder: Path | None = None,
    *,
    encoder: Encoder | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Return the folder of an index's vectors; build them if they are missing.

    Args:
        folder: where they are built, if the index has none; None builds them inside the index.

    Raises:
        UserError: the index is damaged, the folder is read-only, the encoder cannot be loaded, or a library is missing.
    """
    name = "dense-" + sha256(f"{config.encoder}\n{config.document_prefix}".encode()).hexdigest()[:12]
    target = index / name
    if folder is not None and not target.is_dir():
        target = folder / f"{name}-{read_meta(index)['origin'][:12]}"

    def build() -> None:
        with atomic_write(target) as made:
            DenseIndex.build(RetrievalIndex.open(index), made, config, encoder, progress)

    try:
        build_once(target, target.is_dir, build)
    except PermissionError as error:
        raise UserError(
            f"no vectors can be written to {target.parent} ({error}); set retrieval.index_dir to a writable folder"
        ) from error
    return target


def _meta(config: DenseConfig, documents: int) -> dict[str, Any]:
    return {
        "version": DENSE_VERSION,
        "encoder": config.encoder,
        "document_prefix": config.document_prefix,
        "documents": documents,
    }


def _faiss() -> Any:
    try:
        import faiss  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise UserError("dense retrieval needs FAISS; install it with `pip install 'stillhouse[dense]'`") from error
    return faiss
