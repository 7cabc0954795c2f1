"""Dense retrieval with an encoder of our own; runs where FAISS is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rollout.errors import UserError
from rollout.retrieval.dense import DenseConfig, DenseIndex, SentenceEncoder, Vectors
from rollout.retrieval.documents import Document
from rollout.retrieval.index import RetrievalIndex

HAS_FAISS = importlib.util.find_spec("faiss") is not None
needs_faiss = pytest.mark.skipif(not HAS_FAISS, reason="needs pip install 'stillhouse[dense]'")
PAGES = [Document("0", "Weir", "zzz"), Document("1", "Mill", "eee"), Document("2", "Pond", "ppp")]


class Letters:
    """Counts letters: texts with the same letters are near."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        counts = np.array([[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        vectors = counts.astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@needs_faiss
def test_the_nearest_documents_are_found_before_and_after_a_restart(tmp_path: Path) -> None:
    documents, config = RetrievalIndex.of(PAGES), DenseConfig(encoder="letters", batch_size=2)
    built = DenseIndex.build(documents, tmp_path, config, Letters())
    opened = DenseIndex.open(documents, tmp_path, config, Letters())
    for index in (built, opened):
        assert [[hit.id for hit in hits] for hits in index.search(["zzzz", "dnop"], 1)] == [["0"], ["2"]]
        assert len(index.search(["mill"], 9)[0]) == 3
        assert index.search([], 3) == []


@needs_faiss
def test_vectors_of_another_encoder_or_corpus_are_refused(tmp_path: Path) -> None:
    documents, config = RetrievalIndex.of(PAGES), DenseConfig(encoder="letters")
    DenseIndex.build(documents, tmp_path, config, Letters())
    with pytest.raises(UserError, match="of another version, encoder or corpus"):
        DenseIndex.open(documents, tmp_path, DenseConfig(encoder="words"), Letters())
    with pytest.raises(UserError, match="of another version, encoder or corpus"):
        DenseIndex.open(RetrievalIndex.of(PAGES[:2]), tmp_path, config, Letters())
    (tmp_path / "vectors.faiss").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be used"):
        DenseIndex.open(documents, tmp_path, config, Letters())


@pytest.mark.skipif(HAS_FAISS, reason="FAISS is installed")
def test_a_missing_library_is_explained_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'stillhouse\[dense\]'"):
        DenseIndex.build(RetrievalIndex.of(PAGES), tmp_path, DenseConfig(), Letters())


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="needs pip install 'stillhouse[dense]'"
)
def test_a_plain_hugging_face_encoder_makes_unit_vectors(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    small = BertConfig(
        vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0
    )
    BertModel(small).save_pretrained(tmp_path)
    encoder = SentenceEncoder(DenseConfig(encoder=str(tmp_path), device="cpu"))
    vectors = encoder.encode(["a b", "c", "a b"])
    assert (vectors.shape, vectors.dtype) == ((3, 8), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    with pytest.raises(UserError, match="no encoder can be loaded"):
        SentenceEncoder(DenseConfig(encoder=str(tmp_path / "absent"), device="cpu"))
