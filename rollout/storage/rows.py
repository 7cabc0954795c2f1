"""Rows of data files from elsewhere: JSON lines, JSON, CSV and Parquet, plain or compressed.

An error is one sentence that names the file, the row and the fix.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from rollout.errors import UserError

Row = dict[str, Any]

_COMPRESSIONS = (".gz", ".bz2")
FORMATS = (".jsonl", ".json", ".csv", ".parquet")
"""Kinds of files; all but Parquet may be compressed (``.gz``, ``.bz2``)."""


def file_format(path: Path) -> str:
    """``.jsonl`` for ``pages.jsonl.gz``; the empty string for what cannot be read."""
    compressed = path.suffix in _COMPRESSIONS
    suffixes = path.suffixes[:-1] if compressed else path.suffixes
    if path.suffix == ".bz2" and not suffixes:
        return ".jsonl"  # the HotpotQA dump names its parts wiki_00.bz2
    last = suffixes[-1] if suffixes else ""
    return last if last in FORMATS and not (compressed and last == ".parquet") else ""


def file_stem(path: Path) -> str:
    """``pages`` for ``pages.jsonl.gz``; the empty string for a hidden file and what cannot be read."""
    found = file_format(path)
    return path.name.rpartition(found)[0] if found in path.suffixes and not path.name.startswith(".") else ""


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row with its place in words (``line 3`` or ``row 3``).

    A JSON file holds a list of rows, an object with such a list under ``data``, ``examples`` or ``rows``, or one row.

    Raises:
        UserError: the file is missing, damaged, cut short, not UTF-8, or of an unknown kind.
    """
    readers = {".jsonl": _read_lines, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
    kind = file_format(path)
    if kind not in readers:
        raise UserError(f"{path} is none of {', '.join(FORMATS)} (plain, .gz or .bz2); convert it to one of them")
    try:
        for place, row in readers[kind](path):
            if not isinstance(row, dict):
                raise UserError(f"{path}, {place}, is no JSON object; each row must be one")
            yield place, row
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check the path") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut short or damaged ({error}); copy or download it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check its permissions, or download it again") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")


def _text(data: bytes, path: Path, place: str) -> str:
    """Decoded bytes without a byte order mark."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, {place}, is not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}); "
            "save the file as UTF-8"
        ) from error


def _read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"line {number}"
                yield place, _parse(_text(line, path, place), path, place)


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    with _open(path) as file:
        content = file.read()
    found = _parse(_text(content, path, "the content"), path, "the content")
    if isinstance(found, dict):
        found = next((found[key] for key in ("data", "examples", "rows") if isinstance(found.get(key), list)), [found])
    if not isinstance(found, list):
        raise UserError(f"{path} holds no rows; it must be a JSON list of objects, or JSON lines named .jsonl")
    for number, row in enumerate(found, start=1):
        yield f"row {number}", row


def _read_csv(path: Path) -> Iterator[tuple[str, Any]]:
    with _open(path) as file:
        text = _text(file.read(), path, "the content")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
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


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for i in range(batch.num_rows):
                    number += 1
                    yield f"row {number}", batch.slice(i, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, row {number}, is not UTF-8 ({error}); write the file with UTF-8 text") from error
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is cut short or no Parquet file ({error}); copy or download it again") from error


def _parse(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, {place}, is not JSON or is cut short ({error}); fix it there, or download the file again"
        ) from error
