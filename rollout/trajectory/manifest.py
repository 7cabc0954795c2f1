"""Manifest of a store: the keys of its shards in one file, so that they can be read without opening every shard.

It only saves time. An entry holds for a shard of the same name, size and time of change, and shards never change in
place; all others are opened. Without a manifest, or with a damaged one, all of them are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from rollout.trajectory.arrow import key_table

MANIFEST_NAME = "_keys.manifest"
"""A Parquet file; readers of whole folders leave out names that begin with an underscore."""
_SHARDS = b"stillhouse.shards"

ShardId = tuple[str, int, int]
"""Name, bytes and time of change in nanoseconds."""
DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)
"""What `decode` raises for a file that is no manifest."""


def shard_id(file: pafs.FileInfo) -> ShardId:
    """What identifies the content of a shard."""
    return PurePosixPath(file.path).name, file.size, file.mtime_ns or 0


def encode(keys: Mapping[ShardId, pa.Table]) -> pa.Buffer:
    """A manifest of the completed episodes of each shard, as tables of `KEY_COLUMNS`."""
    shards = [[*shard, table.num_rows] for shard, table in keys.items()]
    empty = key_table(())
    schema = empty.schema.with_metadata({_SHARDS: json.dumps(shards).encode()})
    stream = pa.BufferOutputStream()
    with pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(pa.concat_tables([empty, *keys.values()]).cast(schema))
    return stream.getvalue()


def decode(content: pa.Buffer) -> dict[ShardId, pa.Table]:
    """The tables that were given to `encode`. Raises one of `DAMAGE` if the file is damaged."""
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    shards = [_entry(*entry) for entry in json.loads(file.schema_arrow.metadata[_SHARDS])]
    table = file.read(use_threads=False).cast(key_table(()).schema)
    if sum(num_rows for _, num_rows in shards) != table.num_rows:
        raise ValueError("its shards have other numbers of rows")
    return dict(_divide(table, shards))


def _entry(name: str, size: int, mtime_ns: int, num_rows: int) -> tuple[ShardId, int]:
    if num_rows < 0:
        raise ValueError("a shard has a negative number of rows")
    return (name, size, mtime_ns), num_rows


def _divide(table: pa.Table, shards: list[tuple[ShardId, int]]) -> Iterator[tuple[ShardId, pa.Table]]:
    bounds = pairwise(accumulate((num_rows for _, num_rows in shards), initial=0))
    for (shard, _), (start, stop) in zip(shards, bounds, strict=True):
        yield shard, table.slice(start, stop - start)
