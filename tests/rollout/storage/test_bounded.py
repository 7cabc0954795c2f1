"""Files of others: the content decides how one is read, and a hostile or broken one is refused in a sentence."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.errors import UserError
from rollout.storage.bounded import ALWAYS_ALLOWED_BYTES
from rollout.storage.rows import Row, read_rows

ROWS: list[Row] = [{"n": "1", "text": "a"}, {"n": "2", "text": "b"}, {"n": "3", "text": "c"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
LIST = json.dumps(ROWS, indent=1).encode()
CSV, TSV = b"n,text\n1,a\n2,b\n3,c\n", b"n\ttext\n1\ta\n2\tb\n3\tc\n"


def parquet() -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return bytes(out.getvalue())


def arrow(kind: str = "stream") -> bytes:
    out, table = pa.BufferOutputStream(), pa.Table.from_pylist(ROWS)
    with (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return bytes(out.getvalue())


def read(path: Path, content: bytes) -> list[Row]:
    path.write_bytes(content)
    return [row for _, row in read_rows(path)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", LINES),
        ("list.jsonl", LIST),
        ("one_line_list.jsonl", json.dumps(ROWS).encode()),
        ("wrapped.json", json.dumps({"version": 1, "Data": ROWS}).encode()),
        ("tabs.csv", TSV),
        ("commas.tsv", CSV),
        ("semicolons.csv", CSV.replace(b",", b";")),
        ("table.tsv", TSV),
        ("lines.csv", LINES),
        ("lines.parquet", LINES),
        ("parquet.jsonl", parquet()),
        ("parquet.json", parquet()),
        ("stream.arrow", arrow()),
        ("file.arrow", arrow("file")),
        ("arrow.parquet", arrow()),
        ("zipped.jsonl", gzip.compress(LINES, mtime=0)),
        ("zipped.tsv.bz2", bz2.compress(TSV)),
        ("zipped.gz.csv", bz2.compress(CSV)),
        ("mark.json", b"\xef\xbb\xbf" + LINES),
        ("blank.jsonl", b"\n\n" + LINES + b"\n"),
    ],
)
def test_the_content_decides_how_a_file_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(tmp_path / name, content) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", b"", r"a\.json is empty; copy or download it again"),
        ("a.parquet", b"", r"a\.parquet is cut short or no Parquet file"),
        ("a.parquet", parquet()[:-40], "cut short or no Parquet file"),
        ("a.parquet", parquet()[:50] + b"\xff" * 200 + parquet()[250:], "cut short or no Parquet file"),
        ("a.arrow", b"", r"a\.arrow is cut short or no Arrow file"),
        ("a.arrow", arrow()[:-8], "cut short .its end mark is missing"),
        ("a.arrow", arrow()[:40], "cut short"),
        ("a.arrow", arrow("file")[:-20], "cut short or no Arrow file"),
        ("a.arrow", b"nothing of the kind", "cut short or no Arrow file"),
        ("a.jsonl", b'{"n": "1\x00"}\n', "line 1, is not JSON"),
        ("a.csv", CSV + b"\x00,\x00\n", r"a\.csv, line 5, has a NUL character"),
        ("a.csv", "n,text\n1,a\n".encode("utf-16"), "is not UTF-8"),
        ("a.csv", "n,text\nü,a\n".encode("latin-1"), r"is not UTF-8 \(byte 0xfc at position 7\)"),
        ("a.csv", b'n,text\n1,"a\n2,b\n', r"is not CSV \(unexpected end of data\)"),
        ("a.tsv", b'n\ttext\n1\t"a" b\n', "is not CSV"),
        ("a.csv", b"n,N\n1,2\n", "has several columns 'n'; give each column its own name"),
        ("a.jsonl", b"PK\x03\x04abc", "is a zip archive; unpack it"),
        ("a.parquet", b"\x28\xb5\x2f\xfdabc", "is compressed with zstd; unpack it"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        ("a.json", b"<!DOCTYPE html><html>", "is a web page, not the data"),
        ("a.jsonl", gzip.compress(parquet(), mtime=0), "is a compressed Parquet file; unpack it"),
        ("a.jsonl", b'{"n": \n' + LINES, r"line 1, is not JSON or is cut short"),
        ("a.jsonl", LINES + b"[" * 100_000, r"line 4, is not JSON"),
    ],
)
def test_a_broken_or_foreign_file_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read(tmp_path / name, content)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.jsonl"])
def test_a_compressed_file_that_expands_too_far_is_refused(tmp_path: Path, name: str) -> None:
    bomb = gzip.compress(b'{"n": "' + b"0" * (ALWAYS_ALLOWED_BYTES + 1) + b'"}', compresslevel=1, mtime=0)
    assert len(bomb) < ALWAYS_ALLOWED_BYTES / 50
    with pytest.raises(UserError, match="expands to more than 32 MiB, over 50 times its size"):
        read(tmp_path / name, bomb)


def test_a_parquet_file_that_expands_too_far_is_refused(tmp_path: Path) -> None:
    table = pa.table({"n": ["0" * (ALWAYS_ALLOWED_BYTES + 1)]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(UserError, match="expands to more than 32 MiB"):
        list(read_rows(tmp_path / "a.parquet"))


def test_a_value_that_is_stored_once_and_repeated_in_every_row_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": ["0" * 1_000_000] * 256}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    with pytest.raises(UserError, match="expands to more than"):
        list(read_rows(tmp_path / "a.parquet"))


def test_an_arrow_file_with_text_that_is_not_utf8_or_not_there_is_refused(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")])
    path = tmp_path / "a.arrow"
    with pa.ipc.new_stream(str(path), pa.schema([("n", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([bad], names=["n"]))
    content = path.read_bytes()
    beyond = content.replace(b"\0\0\0\0\2\0\0\0", b"\0\0\0\0\xff\xff\0\0")
    assert beyond != content
    for damaged in (content, beyond):
        with pytest.raises(UserError, match="is cut short or no Arrow file"):
            read(path, damaged)


def test_columns_that_are_skipped_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    (tmp_path / "a.arrow").write_bytes(arrow())
    for name in ("a.parquet", "a.arrow"):
        assert [row for _, row in read_rows(tmp_path / name, {"text"})] == [{"n": "1"}, {"n": "2"}, {"n": "3"}]
