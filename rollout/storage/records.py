"""Rows of data files: JSON lines, JSON, CSV or Parquet, plain or gzipped; what is damaged is named by file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rollout.errors import UserError

Row = tuple[str, dict[str, Any]]
"""Where a row stands, in words, and its fields by lower-case name."""

_NAME = re.compile(r"(?P<stem>[^.].*)\.(?P<format>jsonl|json|csv|parquet)(?P<gz>\.gz)?")


def stem_of(path: Path) -> str | None:
    """The file's name without its ending; None if it is no data file."""
    match = _NAME.fullmatch(path.name)
    return match["stem"] if match else None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a data file in order.

    Raises:
        UserError: the file is cut short, not UTF-8, or not what its name says.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise UserError(f"{path} is no .jsonl, .json, .csv or .parquet file; set data_dir to one, or to its folder")
    content = _content(path, bool(match["gz"]))
    for place, fields in _READERS[match["format"]](path, content):
        if not isinstance(fields, dict):
            raise UserError(f"{place} is no object with named fields; mend it or get the file again")
        yield place, {str(name).strip().lower(): value for name, value in fields.items()}


def _content(path: Path, gzipped: bool) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if gzipped else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut short or no gzip file ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend its permissions or get it again") from error


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 (byte {error.start}); convert the file to UTF-8") from error


def _json(content: bytes, place: str) -> Any:
    try:
        return json.loads(_text(content, place))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON ({error}); the file may be cut short: get it again") from error


def _json_lines(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            place = f"{path} line {number}"
            yield place, _json(line, place)


def _json_document(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    document = _json(content, str(path))
    rows = document if isinstance(document, list) else [document]
    for number, row in enumerate(rows, start=1):
        yield (f"{path} item {number}" if isinstance(document, list) else str(path)), row


def _csv(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(_text(content, str(path)), newline=""))
    try:
        for row in reader:
            place = f"{path} line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{place} has not as many fields as the header; mend it or get the file again")
            yield place, row
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is not CSV ({error}); mend it or get the file again") from error


def _parquet(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is no whole Parquet file ({error}); get it again") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path} row {number}", row


_READERS: dict[str, Callable[[Path, bytes], Iterator[tuple[str, Any]]]] = {
    "jsonl": _json_lines,
    "json": _json_document,
    "csv": _csv,
    "parquet": _parquet,
}
