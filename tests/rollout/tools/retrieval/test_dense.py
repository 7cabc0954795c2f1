"""Dense retrieval with a small encoder; needs FAISS."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rollout.errors import UserError
from rollout.tools.retrieval.build import build_index
from rollout.tools.retrieval.config import DenseConfig, RetrievalConfig
from rollout.tools.retrieval.dense import DenseIndex, SentenceEncoder, Vectors, ensure_vectors
from rollout.tools.retrieval.documents import Document
from rollout.tools.retrieval.index import RetrievalIndex
from rollout.tools.retrieval.service import RetrievalServer

HAS_FAISS = importlib.util.find_spec("faiss") is not None
needs_faiss = pytest.mark.skipif(not HAS_FAISS, reason="needs pip install 'stillhouse[dense]'")
PAGES = [Document("0", "Weir", "zzz"), Document("1", "Mill", "eee"), Document("2", "Pond", "ppp")]


class Letters:
    """Encodes texts by letter counts, so that texts with the same letters are close."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        counts = np.array([[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        vectors = counts.astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@needs_faiss
def test_the_nearest_documents_are_found_before_and_after_a_restart(tmp_path: Path) -> None:
    documents, config = RetrievalIndex.from_documents(PAGES), DenseConfig(encoder="letters", batch_size=2)
    built = DenseIndex.build(documents, tmp_path, config, Letters())
    opened = DenseIndex.open(documents, tmp_path, config, Letters())
    for index in (built, opened):
        assert [[hit.id for hit in hits] for hits in index.search(["zzzz", "dnop"], 1)] == [["0"], ["2"]]
        assert len(index.search(["mill"], 9)[0]) == 3
        assert index.search([], 3) == []


@needs_faiss
def test_vectors_of_another_encoder_or_corpus_are_refused(tmp_path: Path) -> None:
    documents, config = RetrievalIndex.from_documents(PAGES), DenseConfig(encoder="letters")
    DenseIndex.build(documents, tmp_path, config, Letters())
    with pytest.raises(UserError, match="of another version, encoder or corpus"):
        DenseIndex.open(documents, tmp_path, DenseConfig(encoder="words"), Letters())
    with pytest.raises(UserError, match="of another version, encoder or corpus"):
        DenseIndex.open(RetrievalIndex.from_documents(PAGES[:2]), tmp_path, config, Letters())
    (tmp_path / "vectors.faiss").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be used"):
        DenseIndex.open(documents, tmp_path, config, Letters())


@pytest.mark.skipif(HAS_FAISS, reason="FAISS is installed")
def test_a_missing_library_is_explained_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'stillhouse\[dense\]'"):
        DenseIndex.build(RetrievalIndex.from_documents(PAGES), tmp_path, DenseConfig(), Letters())


@needs_faiss
def test_vectors_are_built_once_memory_mapped_and_deleted_with_a_replaced_index(tmp_path: Path) -> None:
    config, index = DenseConfig(encoder="letters", batch_size=2), tmp_path / "index"
    counts: list[int] = []
    build_index(PAGES, index)
    folder = ensure_vectors(index, config, encoder=Letters(), progress=counts.append)
    assert ensure_vectors(index, config, progress=counts.append) == folder  # the encoder is not used again
    assert counts == [2, 3]
    opened = DenseIndex.open(RetrievalIndex.open(index), folder, config, Letters())
    assert str(folder / "vectors.faiss") in Path("/proc/self/maps").read_text()
    assert [hit.id for hit in opened.search(["zzzz"], 1)[0]] == ["0"]
    build_index(PAGES[:2], index)
    assert not folder.exists()


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A folder with a tiny plain Hugging Face encoder."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    small = BertConfig(
        vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0
    )
    BertModel(small).save_pretrained(folder)
    return str(folder)


needs_sentence_transformers = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="needs pip install 'stillhouse[dense]'"
)


@needs_sentence_transformers
def test_a_plain_hugging_face_encoder_returns_unit_vectors(encoder: str) -> None:
    made = SentenceEncoder(DenseConfig(encoder=encoder, device="cpu"))
    vectors = made.encode(["a b", "c", "a b"])
    assert (vectors.shape, vectors.dtype) == ((3, 8), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    with pytest.raises(UserError, match="no encoder can be loaded"):
        SentenceEncoder(DenseConfig(encoder=f"{encoder}/absent", device="cpu"))


@needs_faiss
@needs_sentence_transformers
def test_a_dense_service_finds_the_text_that_is_the_query(encoder: str, tmp_path: Path) -> None:
    corpus = tmp_path / "pages.jsonl"
    corpus.write_text('{"title": "a", "text": "b c"}\n{"title": "h", "text": "g g"}\n')
    settings = {"corpus": str(corpus), "index_dir": str(tmp_path / "index"), "kind": "dense"}
    config = RetrievalConfig.model_validate({**settings, "dense": {"encoder": encoder, "device": "cpu"}})
    for server in (RetrievalServer(config), RetrievalServer(config)):
        found = server.search(["h g g", "a b c"], 1)
        assert [[hit.title for hit in hits] for hits in found] == [["h"], ["a"]]


def test_no_vectors_are_built_inside_an_index_that_the_user_names(tmp_path: Path) -> None:
    index, vectors = tmp_path / "users" / "index", tmp_path / "vectors"
    build_index(PAGES, index)
    before = {path: path.stat().st_mtime_ns for path in index.parent.rglob("*")}
    settings = {"corpus": str(index), "index_dir": str(vectors), "kind": "dense"}
    config = RetrievalConfig.model_validate({**settings, "dense": {"encoder": str(tmp_path / "absent")}})
    with pytest.raises(UserError, match="no encoder can be loaded|pip install"):
        RetrievalServer(config).start()
    assert {path: path.stat().st_mtime_ns for path in index.parent.rglob("*")} == before


@needs_faiss
def test_vectors_of_a_users_index_are_built_beside_it_and_again_for_another_index(tmp_path: Path) -> None:
    config, index = DenseConfig(encoder="letters"), tmp_path / "index"
    build_index(PAGES, index, origin="first")
    first = ensure_vectors(index, config, tmp_path / "vectors", encoder=Letters())
    assert first.parent == tmp_path / "vectors"
    assert ensure_vectors(index, config, tmp_path / "vectors") == first
    build_index(PAGES[:2], index, origin="second")
    assert ensure_vectors(index, config, tmp_path / "vectors", encoder=Letters()) != first
    inside = ensure_vectors(index, config, encoder=Letters())
    assert ensure_vectors(index, config, tmp_path / "vectors") == inside, "the index has vectors already"
