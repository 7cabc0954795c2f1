"""Rows of data files from elsewhere: JSON lines, JSON, CSV, TSV, Parquet and Arrow; text may be compressed.

The content decides how a file is read, not its name. An error is one sentence that names the file, the row and the fix.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rollout.errors import UserError
from rollout.storage.arrow_rows import ARROW_FILE, ARROW_STREAM, PARQUET, Rows, read_arrow, read_parquet
from rollout.storage.bounded import MAX_TEXT_BYTES, compression_of, open_bounded

Row = dict[str, Any]

_COMPRESSIONS = (".gz", ".bz2")
_BINARY = (".parquet", ".arrow")
FORMATS = (".jsonl", ".json", ".csv", ".parquet", ".tsv", ".arrow")
"""Kinds of files; all but Parquet and Arrow may be compressed (``.gz``, ``.bz2``)."""
_HEAD_BYTES = 1024
_TABLES = (".csv", ".tsv")
_NO_DATA = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; fetch the data with `git lfs pull`",
    b"<!doctype html": "a web page, not the data; download the file itself",
    b"<html": "a web page, not the data; download the file itself",
}
"""First bytes, in lower case, of files that are often downloaded in place of the data."""


def file_format(path: Path) -> str:
    """``.jsonl`` for ``pages.jsonl.gz``; the empty string for what cannot be read."""
    compressed = path.suffix in _COMPRESSIONS
    suffixes = path.suffixes[:-1] if compressed else path.suffixes
    if path.suffix == ".bz2" and not suffixes:
        return ".jsonl"  # the HotpotQA dump names its parts wiki_00.bz2
    last = suffixes[-1] if suffixes else ""
    return last if last in FORMATS and not (compressed and last in _BINARY) else ""


def file_stem(path: Path) -> str:
    """``pages`` for ``pages.jsonl.gz``; the empty string for a hidden file and what cannot be read."""
    found = file_format(path)
    return path.name.rpartition(found)[0] if found in path.suffixes and not path.name.startswith(".") else ""


def read_rows(path: Path, skip: Collection[str] = ()) -> Iterator[tuple[str, Row]]:
    """Each row with its place in words (``line 3`` or ``row 3``).

    A JSON file holds a list of rows, an object with such a list under ``data``, ``examples`` or ``rows``, one row, or
    JSON lines. The first line of CSV and TSV names the columns.

    Args:
        path: the file; its name ends in one of `FORMATS`.
        skip: names of columns, in lower case, that are not read from Parquet and Arrow.

    Raises:
        UserError: the file is missing, damaged, cut short, not UTF-8, of an unknown kind, or expands too far.
    """
    if not file_format(path):
        raise UserError(f"{path} is none of {', '.join(FORMATS)} (plain, .gz or .bz2); convert it to one of them")
    try:
        for place, row in _reader(path, skip)():
            if not isinstance(row, dict):
                raise UserError(f"{path}, {place}, is no JSON object; each row must be one")
            yield place, row
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check the path") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut short or damaged ({error}); copy or download it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check its permissions, or download it again") from error


def _reader(path: Path, skip: Collection[str]) -> Callable[[], Rows]:
    """The reader of a file, chosen by its first bytes; its name decides between tables and JSON where both are text."""
    with open_bounded(path) as file:
        head = file.read(_HEAD_BYTES)
    if what := next((what for magic, what in _NO_DATA.items() if head.lower().startswith(magic.lower())), ""):
        raise UserError(f"{path} is {what}")
    text, name = head.removeprefix(b"\xef\xbb\xbf").lstrip(), file_format(path)
    binary = next((magic for magic in (PARQUET, ARROW_FILE, ARROW_STREAM) if head.startswith(magic)), b"")
    if binary and compression_of(path):
        raise UserError(f"{path} is a compressed {'Parquet' if binary == PARQUET else 'Arrow'} file; unpack it")
    is_json = text[:1] in (b"{", b"[")
    if binary == PARQUET or (name == ".parquet" and not binary and not is_json):
        return lambda: read_parquet(path, skip)
    if binary or (name == ".arrow" and not is_json):
        return lambda: read_arrow(path, skip)
    return (lambda: _read_table(path)) if name in _TABLES and not is_json else lambda: _read_json(path)


def _text(data: bytes, path: Path, place: str) -> str:
    """Decoded bytes without a byte order mark."""
    if len(data) > MAX_TEXT_BYTES:
        raise UserError(f"{path}, {place}, is larger than {MAX_TEXT_BYTES >> 30} GiB; use Parquet or JSON lines")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, {place}, is not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}); "
            "save the file as UTF-8"
        ) from error


def _read_json(path: Path) -> Rows:
    """JSON lines if the first line is a whole object and another follows, or the file is named so; else one value."""
    named = file_format(path) == ".jsonl"
    with open_bounded(path) as file:
        lines = ((n, line) for n, line in enumerate(iter(lambda: file.readline(MAX_TEXT_BYTES + 1), b""), start=1))
        filled = ((number, line) for number, line in lines if line.strip())
        first = next(filled, None)
        second = next(filled, None)
        if first is None:
            if not named:
                raise UserError(f"{path} is empty; copy or download it again")
            return
        value = _first_value(first[1])
        is_list = isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
        if (isinstance(value, dict) and (named or second)) or (named and value is not None and not is_list):
            yield from _lines([item for item in (first, second) if item], filled, path)
            return
        content = first[1] + second[1] + file.read(MAX_TEXT_BYTES + 1) if second else first[1]
    try:
        yield from _whole(content, path, f"line {first[0]}" if named and not second else "the content")
    except UserError:
        if named and value is None:  # JSON lines whose first line is damaged
            _parse(_text(first[1], path, f"line {first[0]}"), path, f"line {first[0]}")
        raise


def _first_value(line: bytes) -> Any:
    """Value of a line of JSON; None if it is none."""
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _lines(read: list[tuple[int, bytes]], rest: Iterator[tuple[int, bytes]], path: Path) -> Rows:
    for number, line in itertools.chain(read, rest):
        place = f"line {number}"
        yield place, _parse(_text(line, path, place), path, place)


def _whole(content: bytes, path: Path, place: str) -> Rows:
    found = _parse(_text(content, path, place), path, place)
    if isinstance(found, dict):
        lower = {key.lower(): value for key, value in found.items()}
        found = next((lower[key] for key in ("data", "examples", "rows") if isinstance(lower.get(key), list)), [found])
    if not isinstance(found, list):
        raise UserError(f"{path} holds no rows; it must be a JSON list of objects, or JSON lines named .jsonl")
    for number, row in enumerate(found, start=1):
        yield f"row {number}", row


def _read_table(path: Path) -> Rows:
    """CSV or TSV; the delimiter is the one that the first line has."""
    with open_bounded(path) as file:
        text = _text(file.read(MAX_TEXT_BYTES + 1), path, "the content")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}, has a NUL character; it is no text table, or damaged: download it again")
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in header), ",")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise UserError(f"{path} has several columns {min(repeated)!r}; give each column its own name")
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise UserError(
                    f"{path}, line {reader.line_num}, has not as many fields as the header; fix it there, or download "
                    "the file again"
                )
            yield f"row {number}", row
    except csv.Error as error:
        raise UserError(
            f"{path}, near line {reader.line_num}, is not CSV ({error}); fix it there, or download the file again"
        ) from error


def _parse(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, {place}, is not JSON or is cut short ({error}); fix it there, or download the file again"
        ) from error
