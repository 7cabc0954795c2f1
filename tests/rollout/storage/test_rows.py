"""Data files that others made: what is wrong with one is a sentence that names the place and the remedy."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.errors import UserError
from rollout.storage.rows import file_stem, read_rows
from rollout.tools.retrieval.documents import Document, paragraph, read_documents

ROWS = [{"id": "a", "title": "Old Mill", "text": "A mill."}, {"id": "b", "title": "Éire", "text": "Grün.\nZwei."}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
DOCUMENTS = [Document("a", "Old Mill", "A mill."), Document("b", "Éire", "Grün.\nZwei.")]


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_same_documents_come_from_every_format(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.jsonl", LINES),
        written(tmp_path / "a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        written(tmp_path / "wiki_00.bz2", bz2.compress(LINES)),
        written(tmp_path / "a.json", json.dumps(ROWS).encode()),
        tmp_path / "a.parquet",
        written(tmp_path / "folder/deep/a.jsonl", LINES).parents[1],
    ]
    pq.write_table(pa.Table.from_pylist(ROWS), paths[4])
    for path in paths:
        assert list(read_documents(path)) == DOCUMENTS


def test_a_json_file_may_hold_one_row_or_name_its_list(tmp_path: Path) -> None:
    assert list(read_rows(written(tmp_path / "a.json", b'{"problem": "P?"}'))) == [("row 1", {"problem": "P?"})]
    assert list(read_rows(written(tmp_path / "b.json", b'{"data": [{"n": 1}]}'))) == [("row 1", {"n": 1})]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, name: str) -> None:
    content = b"n\n1\n" if name == "a.csv" else b'{"n": "1"}'
    path = written(tmp_path / name, b"\xef\xbb\xbf" + content)
    assert list(read_rows(path)) == [("line 1" if name == "a.jsonl" else "row 1", {"n": "1"})]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.b.jsonl.gz", "a.b"),
        ("a.csv", "a"),
        ("a.json.bz2", "a"),
        (".a.json", ""),
        ("a.txt", ""),
        ("a.parquet.gz", ""),
    ],
)
def test_the_stem_of_a_data_file_is_its_name_without_endings(name: str, stem: str) -> None:
    assert file_stem(Path(name)) == stem


def test_a_folder_is_read_file_by_file_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written(tmp_path / f"{name}.jsonl", json.dumps({"title": name, "text": "x"}).encode())
    written(tmp_path / "notes.txt", b"not read")
    assert [(d.id, d.title) for d in read_documents(tmp_path)] == [("0", "a"), ("1", "b")]


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ({"title": "T", "text": ["One.", " Two.", "Three."]}, Document("0", "T", "One. Two. Three.")),
        ({"title": "T", "text": [["One.", " Two."], [], ["Three."]]}, Document("0", "T", "One. Two.\nThree.")),
        ({"id": 7, "contents": '"T"\nThe text.'}, Document("7", "T", "The text.")),
        ({"_id": "x", "title": "T", "sentences": ["One."]}, Document("x", "T", "One.")),
    ],
)
def test_usual_shapes_of_dumps_are_understood(tmp_path: Path, row: dict[str, object], document: Document) -> None:
    path = written(tmp_path / "a.jsonl", json.dumps(row).encode())
    assert list(read_documents(path)) == [document]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", LINES + b'{"title": "\xff"}\n', r"a\.jsonl, line 3, is not UTF-8 \(byte 0xff at position 11\)"),
        ("a.json", b'[{"title": "\xff"}]', r"a\.json, the content, is not UTF-8"),
        (
            "a.jsonl.gz",
            gzip.compress(LINES * 200, mtime=0)[:-30],
            r"a\.jsonl\.gz is cut short or damaged .*; copy or download",
        ),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz is cut short or damaged"),
        ("a.jsonl.bz2", bz2.compress(LINES)[:-9], r"a\.jsonl\.bz2 is cut short or damaged"),
        ("a.parquet", b"PAR1 nonsense", r"a\.parquet is cut short or no Parquet file"),
        ("a.jsonl", LINES[:-20], r"a\.jsonl, line 2, is not JSON or is cut short"),
        ("a.jsonl", b"[1]", r"line 1, is no JSON object"),
        ("a.jsonl", b'{"text": "x"}', r"line 1, has no title"),
        ("a.jsonl", b'{"title": "T", "text": 5}', r"line 1 \(T\), has no text"),
        ("a.json", b"3", r"holds no rows"),
        ("a.csv", b"title,text\nT\n", r"a\.csv, line 2, has not as many fields as the header; fix it there"),
        ("a.csv", b"title,text\nT,x,y\n", r"line 2, has not as many fields"),
        ("a.csv", b'title,text\nT,"' + b"x" * 200_000, r"near line 1, is not CSV"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), r"a\.parquet\.gz is none of"),
        ("a.txt", LINES, r"a\.txt is none of \.jsonl, \.json, \.csv, \.parquet"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(UserError, match=sentence):
        list(read_documents(path))


def test_a_parquet_row_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    column = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": column, "text": ["x", "y"]}), path)
    with pytest.raises(UserError, match=r"row 2, is not UTF-8"):
        list(read_documents(path))


@pytest.mark.parametrize("name", ["absent.jsonl", "absent"])
def test_a_missing_corpus_says_what_is_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r'there is no corpus at .*absent.*whose rows have "title" and "text"'):
        list(read_documents(tmp_path / name))


def test_sentences_get_a_blank_between_them_only_where_they_bring_none() -> None:
    assert paragraph(["One.", "Two.", " Three."]) == "One. Two. Three."
