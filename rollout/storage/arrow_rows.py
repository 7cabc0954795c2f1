"""Rows of Parquet files and of Arrow files, which `datasets.save_to_disk` writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.errors import UserError
from rollout.storage.bounded import expands_too_far, expansion_limit

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
"""First bytes of the formats."""
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_ROWS_AT_ONCE = 256
"""Small, since a value that is stored once may be repeated in every row."""

Rows = Iterator[tuple[str, Any]]


def read_parquet(path: Path, skip: Collection[str] = ()) -> Rows:
    """Each row of a Parquet file with its place (``row 3``), without the columns ``skip``."""
    import pyarrow.parquet as pq

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > expansion_limit(path):
                raise expands_too_far(path)
            columns = _columns(path, file.schema_arrow.names, skip)
            yield from file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns)

    return _rows(path, batches(), "Parquet")


def read_arrow(path: Path, skip: Collection[str] = ()) -> Rows:
    """The same for an Arrow file in the stream format or in the file format."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as source:
            streamed = source.read(len(ARROW_STREAM)) == ARROW_STREAM
            if streamed:
                _check_end(path)
            source.seek(0)
            reader = pa.ipc.open_stream(source) if streamed else pa.ipc.open_file(source)
            columns = _columns(path, reader.schema.names, skip)
            found = reader if streamed else (reader.get_batch(i) for i in range(reader.num_record_batches))
            for batch in found:
                chosen = batch.select(columns)
                chosen.validate(full=True)  # the format has no checks of its own
                yield chosen

    return _rows(path, batches(), "Arrow")


def _rows(path: Path, batches: Iterator[pa.RecordBatch], kind: str) -> Rows:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            if batch.nbytes > expansion_limit(path):
                raise expands_too_far(path)
            for i in range(batch.num_rows):
                number += 1
                yield f"row {number}", batch.slice(i, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, row {number}, is not UTF-8 ({error}); write the file with UTF-8 text") from error
    except (pa.ArrowException, OSError, RecursionError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is cut short or no {kind} file ({reason}); copy or download it again") from error


def _columns(path: Path, names: list[str], skip: Collection[str]) -> list[str]:
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path} has several columns {min(repeated)!r}; give each column its own name")
    return [name for name in names if name.strip().lower() not in skip]


def _check_end(path: Path) -> None:
    """Raise `UserError` if a stream has no end mark; without it, a cut between two batches would not be noticed."""
    with path.open("rb") as file:
        if path.stat().st_size >= len(_END_OF_STREAM):
            file.seek(-len(_END_OF_STREAM), 2)
        if file.read() != _END_OF_STREAM:
            raise UserError(f"{path} is cut short (its end mark is missing); copy or download it again")
