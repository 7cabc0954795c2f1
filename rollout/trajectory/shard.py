"""One shard: a Parquet file of episodes in the columns of `rollout.trajectory.arrow.trajectory_schema`.

Columns are found by name: their order does not matter, and columns or fields of segments that the schema does not have
are ignored. Shards of older schemas are converted while they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from rollout.errors import UserError
from rollout.messages import first_line
from rollout.trajectory.arrow import NUMBER_LEAVES, TEXT_LEAVES, VERSION_METADATA, trajectory_schema
from rollout.trajectory.migration import old_columns, upgrade
from rollout.trajectory.record import SCHEMA_VERSION

ROW_GROUP_BYTES = 32 * 2**20
"""Uncompressed size at which `encode` closes a row group, which is the unit that a reader holds in memory."""


class ForeignFileError(Exception):
    """A valid Parquet file that is not a shard."""


def encode(tables: Iterable[pa.Table]) -> pa.Buffer:
    """Encode a Parquet file; small tables share a row group."""
    stream = pa.BufferOutputStream()
    with pq.ParquetWriter(
        stream,
        trajectory_schema(),
        compression="zstd",
        compression_level=1,
        use_dictionary=list(TEXT_LEAVES),
        use_byte_stream_split=list(NUMBER_LEAVES),
        write_page_checksum=True,
    ) as writer:
        for group in _row_group_tables(tables):
            writer.write_table(group)
    return stream.getvalue()


def _row_group_tables(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenate tables until they reach `ROW_GROUP_BYTES`."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def parse(
    source: pa.NativeFile, path: str, columns: Sequence[str] | None, pre_buffer: bool = False
) -> Iterator[pa.Table]:
    """Yield the row groups of a shard. Raises `ForeignFileError` for other files, `UserError` for a newer version."""
    file = pq.ParquetFile(source, pre_buffer=pre_buffer, page_checksum_verification=True)
    schema = file.schema_arrow
    version = _version(schema, path)
    _check_columns(schema, version)
    names = tuple(columns or trajectory_schema().names)
    stored = names if version == SCHEMA_VERSION else old_columns(names)
    for index in range(file.num_row_groups):
        # Without threads, because many workers share a machine.
        yield _conform(file.read_row_group(index, columns=stored, use_threads=False), version, names)


def _version(schema: pa.Schema, path: str) -> int:
    """Version of a shard's schema. Other tools write our columns, but not our metadata."""
    version = (schema.metadata or {}).get(VERSION_METADATA, b"")
    if not version and set(trajectory_schema().names) <= set(schema.names):
        return SCHEMA_VERSION
    if not version.isdigit():
        raise ForeignFileError("it is a Parquet file of another tool")
    if int(version) > SCHEMA_VERSION:
        raise UserError(
            f"{path} was written by a newer Stillhouse (trajectory schema {int(version)}, this version reads up to "
            f"{SCHEMA_VERSION}): update Stillhouse or use another folder."
        )
    return int(version)


def _check_columns(schema: pa.Schema, version: int) -> None:
    if schema.equals(trajectory_schema()):
        return
    try:
        _conform(schema.empty_table(), version, tuple(trajectory_schema().names))
    except (KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise ForeignFileError(
            f"its columns are not those of trajectory schema {version} ({first_line(error)})"
        ) from error


@cache
def _schema_of(names: tuple[str, ...]) -> pa.Schema:
    schema = trajectory_schema()
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def _conform(table: pa.Table, version: int, names: tuple[str, ...]) -> pa.Table:
    """The columns ``names`` of a table of schema ``version``, with the types of the current schema."""
    schema = _schema_of(names)
    table = table.select(names) if version == SCHEMA_VERSION else upgrade(table, version, names)
    if table.schema.equals(schema):
        return table
    if "segments" in names and version == SCHEMA_VERSION:
        _check_segments(table.schema.field("segments").type)
    try:
        return table.cast(schema)
    except ValueError as error:  # of a null, which is not an Arrow error
        raise pa.ArrowInvalid(str(error)) from error


def _check_segments(type_: pa.DataType) -> None:
    """Raise `KeyError` if fields of segments are missing: a cast would make them null where they may be null."""
    wanted = trajectory_schema().field("segments").type.value_type
    missing = {field.name for field in wanted} - {field.name for field in type_.value_type}
    if missing:
        raise KeyError(f"segments lack {', '.join(sorted(missing))}")
