"""The lexical index: exact titles, BM25 over words, and equal results in memory and on disk."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.errors import UserError
from rollout.tools.retrieval.build import build_index, default_folder, open_or_build
from rollout.tools.retrieval.config import LexicalConfig
from rollout.tools.retrieval.documents import Document
from rollout.tools.retrieval.index import META_FILE, RetrievalIndex
from rollout.tools.retrieval.lexical import top_rows
from rollout.tools.retrieval.words import title_key, words

PAGES = [
    Document("0", "Old Mill", "The mill grinds corn."),
    Document("1", "OLD MILL", "A pub of this name."),
    Document("2", "River Osk", "A river with a mill and a mill and a weir."),
    Document("3", "Weir", "It holds back water."),
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"id": d.id, "title": d.title, "text": d.text}) + "\n" for d in PAGES))
    return path


def titles(index: RetrievalIndex, query: str, k: int = 5) -> list[str]:
    return [hit.title for hit in index.search([query], k)[0]]


def test_an_exact_title_is_preferred_to_one_that_differs_in_case() -> None:
    index = RetrievalIndex.from_documents(PAGES)
    assert [index.find_title(title) for title in ("Old Mill", "OLD MILL")] == PAGES[:2]
    assert index.find_title("old mill") == PAGES[0]
    assert index.find_title("  old_mill ") == PAGES[0]
    assert index.find_title("[Old Mill]") is None


def test_scores_are_those_of_bm25() -> None:
    """One word, computed by hand: idf × tf without the factor k1 + 1, as in Lucene; lengths exclude stop words."""
    index = RetrievalIndex.from_documents(PAGES, LexicalConfig(k1=1.2, b=0.75, title_weight=0))
    # words: mill grind corn | pub name | river mill mill weir | hold back water
    lengths, counts = [3, 2, 4, 3], {0: 1, 2: 2}
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    expected = {
        row: idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * lengths[row] / 3)) for row, count in counts.items()
    }
    found = {int(hit.id): hit.score for hit in index.search(["mills"], 5)[0]}
    assert found == pytest.approx(expected)


def test_words_of_the_title_have_a_higher_weight_than_words_of_the_text() -> None:
    assert titles(RetrievalIndex.from_documents(PAGES), "weir")[0] == "Weir"
    assert titles(RetrievalIndex.from_documents(PAGES, LexicalConfig(title_weight=0)), "weir") == ["River Osk"]


def test_a_query_without_known_words_finds_nothing_and_batches_may_mix_queries() -> None:
    index = RetrievalIndex.from_documents(PAGES)
    assert [[hit.id for hit in hits] for hits in index.search(["zebra", "", "the", "water"], 5)] == [[], [], [], ["3"]]
    assert index.search([], 5) == []
    assert index.search(["mill"], 0) == [[]]


def test_similar_titles_contain_each_title_once() -> None:
    passages = [Document(str(i), "Mill", f"mill {i}") for i in range(6)] + [Document("x", "Weir", "a mill")]
    assert RetrievalIndex.from_documents(passages).similar_titles("mill", 5) == ["Mill", "Weir"]


@given(st.integers(0, 2**32), st.integers(1, 3000), st.sampled_from([1, 3, 50, 10_000]), st.integers(0, 12))
@settings(max_examples=80, deadline=None)
def test_the_best_rows_equal_those_of_a_full_stable_sort(seed: int, count: int, spread: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(0, spread, count).astype(np.float32)
    expected = sorted(((row, float(v)) for row, v in enumerate(scores) if v), key=lambda pair: (-pair[1], pair[0]))
    assert top_rows(scores, k) == expected[:k]


@given(st.text())
def test_any_text_has_words_and_a_key(text: str) -> None:
    assert all(word == word.lower() for word in words(text) if word.isascii())
    assert title_key(title_key(text)) == title_key(text) or not text.isascii()
    assert RetrievalIndex.from_documents(PAGES).find_title(text) in (None, *PAGES)


def test_accents_plurals_and_stop_words_are_ignored() -> None:
    assert words("The Élan of the glasses, class and bus") == ["elan", "glasse", "class", "bus"]


def test_the_index_on_disk_returns_the_same_results_as_in_memory(tmp_path: Path) -> None:
    made = [Document(f"d{i}", f"Title {i % 40}", f"word{i % 7} word{i % 11} shared") for i in range(12_000)]
    assert build_index(made, tmp_path / "index") == 12_000
    on_disk, in_memory = RetrievalIndex.open(tmp_path / "index"), RetrievalIndex.from_documents(made)
    queries = ["shared", "word3 word5", "title 7", "word6"]
    assert on_disk.search(queries, 9) == in_memory.search(queries, 9)
    assert on_disk.find_title("title 39") == in_memory.find_title("title 39") == made[39]
    assert (len(on_disk), on_disk[11_999]) == (12_000, made[-1])


def test_another_process_returns_the_same_results(tmp_path: Path) -> None:
    build_index(PAGES, tmp_path / "index")
    code = (
        "import sys; from rollout.tools.retrieval.index import RetrievalIndex;"
        "print(RetrievalIndex.open(sys.argv[1]).search(['the old mill', 'weir'], 3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "index")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(RetrievalIndex.open(tmp_path / "index").search(["the old mill", "weir"], 3))


def test_an_index_is_built_once_and_rebuilt_if_corpus_or_settings_change(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"

    def made() -> int:
        return (folder / META_FILE).stat().st_ino

    open_or_build(corpus, folder)
    first = made()
    open_or_build(corpus, folder)
    assert made() == first
    open_or_build(corpus, folder, LexicalConfig(k1=2))
    assert (second := made()) != first
    with corpus.open("a") as file:
        file.write('{"title": "Newt", "text": "A small animal."}\n')
    assert titles(open_or_build(corpus, folder, LexicalConfig(k1=2)), "animal") == ["Newt"]
    assert made() != second
    assert sorted(p.name for p in tmp_path.iterdir()) == [".index.lock", "index", "pages.jsonl"]


def test_an_index_folder_can_be_used_as_the_corpus(corpus: Path, tmp_path: Path) -> None:
    open_or_build(corpus, tmp_path / "index")
    corpus.unlink()
    assert titles(open_or_build(tmp_path / "index"), "water") == ["Weir"]


def test_an_index_of_another_version_is_refused_or_rebuilt_and_never_read(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    open_or_build(corpus, folder)
    meta = json.loads((folder / META_FILE).read_text())
    (folder / META_FILE).write_text(json.dumps({**meta, "version": 99}))
    with pytest.raises(
        UserError, match="is of version 99, but this program reads version 1; delete it and build it again"
    ):
        RetrievalIndex.open(folder)
    assert titles(open_or_build(corpus, folder), "water") == ["Weir"]
    assert json.loads((folder / META_FILE).read_text())["version"] == 1


@pytest.mark.parametrize("part", ["documents.arrow", "titles.rows.npy", "words/data.csc.index.npy", META_FILE])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_index_is_refused(tmp_path: Path, part: str, damage: str) -> None:
    build_index(PAGES, tmp_path / "index")
    path = tmp_path / "index" / part
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    with pytest.raises(UserError, match="is damaged|there is no index in .*; build it with"):
        RetrievalIndex.open(tmp_path / "index")


def test_two_documents_with_one_id_are_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    twice = [*PAGES, Document("2", "Twin", "x")]
    with pytest.raises(UserError, match=r"the id '2' \('River Osk' at position 3 and 'Twin' at position 5\)"):
        build_index(twice, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_corpus_is_refused_and_one_without_words_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the corpus has no documents"):
        build_index([], tmp_path / "index")
    build_index([Document("0", "!", "?")], tmp_path / "index")
    assert titles(RetrievalIndex.open(tmp_path / "index"), "word") == []


def test_a_folder_with_other_files_is_never_replaced(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="contains something other than an index"):
        open_or_build(corpus, folder)
    assert (folder / "thesis.txt").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.jsonl", "precious"], "no lock beside it"


def test_the_command_builds_an_index_and_reports_a_missing_corpus(corpus: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rollout.tools.retrieval.build", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = run(str(corpus), str(tmp_path / "index"))
    assert (done.returncode, "4 documents in" in done.stdout) == (0, True)
    shutil.rmtree(tmp_path / "index")
    failed = run(str(tmp_path / "absent.jsonl"), str(tmp_path / "index"))
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert run("only one").returncode == 2


def test_each_corpus_has_its_own_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    one, other = default_folder("/x/pages.jsonl"), default_folder("/y/pages.jsonl")
    assert one != other
    assert one.parent == other.parent == tmp_path / "retrieval"
