"""Trajectories on disk: a folder of Parquet shards on any `pyarrow.fs` filesystem.

Every write is one shard: a temporary file beside its final name, then a move, so that a shard is there as a whole or
not at all. Names begin with the time of the move and end in a random part; many processes may write to one folder.
A key that was written twice is read once, as it was written first, in the order of the names. A shard that cannot be
read is renamed and its episodes count as missing; nothing else is ever changed in place.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from rollout.errors import UserError
from rollout.messages import first_line
from rollout.trajectory.arrow import (
    KEY_COLUMNS,
    NUMBER_LEAVES,
    SUMMARY_COLUMNS,
    TEXT_LEAVES,
    VERSION_METADATA,
    from_table,
    table_keys,
    to_table,
    trajectory_schema,
)
from rollout.trajectory.record import SCHEMA_VERSION, Key, Trajectory

SHARD, PARTIAL, ASIDE = ".parquet", ".partial", ".set-aside"
ROW_GROUP_BYTES = 32 * 2**20
"""Uncompressed size at which compaction closes a row group: what one step of a reader holds in memory."""
ABANDONED_AFTER_NS = 24 * 3600 * 10**9
"""Age at which compaction takes a temporary file for the leftover of a writer that died."""
UNREADABLE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, OSError)
"""What pyarrow raises at damaged bytes; it also raises OSError where the storage fails."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A shard that could not be read. ``path`` is its present name; ``reason`` is for people."""

    path: str
    reason: str


class TrajectoryStore:
    """The episodes of one folder, each key once. Safe for concurrent writers, readers and compaction."""

    def __init__(
        self, uri: str | os.PathLike[str], read_only: bool = False, filesystem: pafs.FileSystem | None = None
    ) -> None:
        """Open ``uri``: a local path, or ``file://``, ``s3://``, ``gs://`` and what else pyarrow knows.

        Args:
            uri: the folder; made if it is not there, unless ``read_only``.
            read_only: never change the folder; unreadable shards are skipped and named, but keep their names.
            filesystem: if given, ``uri`` is a path in it.

        Raises:
            UserError: the URI names no filesystem that can be reached, or the folder cannot be made.
        """
        self._read_only = read_only
        self._filesystem, folder = (filesystem, os.fspath(uri)) if filesystem else _resolve(os.fspath(uri))
        self._folder = folder.rstrip("/")
        self._skipped: dict[str, SetAside] = {}
        if not read_only:
            try:
                self._filesystem.create_dir(self._folder, recursive=True)
            except OSError as error:
                raise UserError(f"The folder {uri} cannot be made ({error}): choose another one.") from error

    def write(self, trajectories: Iterable[Trajectory]) -> None:
        """Add one shard. Keys that are there already are not changed by it.

        Raises:
            UserError: no space is left; nothing of the shard can be seen then.
        """
        self._check_writable()
        table = to_table(trajectories)
        if table.num_rows == 0:
            return
        self._publish(_shard([table]))

    def keys(self) -> set[Key]:
        """The keys of all readable episodes; reads no other column."""
        return {key for table in self.tables(KEY_COLUMNS) for key in table_keys(table)}

    def read(self, keys: Collection[Key] | None = None) -> Iterator[Trajectory]:
        """Each episode once, in a stable order, one shard (of a large one: one row group) in memory at a time.

        Args:
            keys: of the episodes that are wanted; None reads all. Reading ends with the last one that is found.

        Raises:
            UserError: a shard was written by a newer version. So do `keys`, `summaries`, `tables` and `compact`.
        """
        missing = None if keys is None else set(keys)
        for table in self.tables():
            wanted = table if missing is None else _only(table, missing)
            yield from from_table(wanted)
            if missing is not None:
                missing.difference_update(table_keys(wanted))
                if not missing:
                    return

    def summaries(self) -> Iterator[Trajectory]:
        """As `read`, but every episode has ``segments=()`` and the segment columns are not touched."""
        return (trajectory for table in self.tables(SUMMARY_COLUMNS) for trajectory in from_table(table))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The same episodes as Arrow tables of `rollout.trajectory.arrow.trajectory_schema`, for columnar readers.

        Args:
            columns: names, dotted for a part of a struct; they must include `KEY_COLUMNS`. None reads all.
        """
        seen: set[Key] = set()
        done: set[str] = set()
        pending = self._shards()
        while pending:
            path = pending.pop(0).path
            done.add(path)
            try:
                for table in self._row_groups(path, columns):
                    yield _unseen(table, seen)
            except FileNotFoundError:  # compacted or set aside by another process: look where its episodes are now
                pending = [shard for shard in self._shards() if shard.path not in done]

    def compact(self, shard_bytes: int = 256 * 2**20) -> None:
        """Merge neighbouring shards up to about ``shard_bytes``, and clear away what dead writers left.

        A crash at any point loses nothing: old shards go only after the new one is in place, and until then a key
        that stands in both is read once. The new shard takes the place of its first one in the order.
        """
        self._check_writable()
        self._remove_abandoned()
        seen: set[Key] = set()
        with suppress(FileNotFoundError):  # another process compacts this folder: leave it to that one
            for group in _neighbours(self._shards(), shard_bytes):
                if len(group) > 1:
                    self._merge(group, seen)
                else:
                    seen.update(key for table in self._row_groups(group[0], KEY_COLUMNS) for key in table_keys(table))

    def set_aside(self) -> list[SetAside]:
        """The shards that were ever renamed in this folder, and those that this object skipped, by path."""
        paths = [file.path for file in self._files() if file.path.endswith(ASIDE)]
        renamed = [SetAside(path, self._damage(path) or "it was set aside, but can be read now") for path in paths]
        return sorted([*self._skipped.values(), *renamed], key=lambda shard: shard.path)

    def _check_writable(self) -> None:
        if self._read_only:
            raise ValueError(f"the store {self._folder} was opened read-only")

    def _files(self) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self._folder, allow_not_found=True)
        return [file for file in self._filesystem.get_file_info(selector) if file.is_file]

    def _shards(self) -> list[pafs.FileInfo]:
        """In the order of their names, which is the order in which they were written."""
        # Twice: one listing during a compaction may miss both the old shards and the new one.
        files = {file.path: file for _ in range(2) for file in self._files()}
        return [files[path] for path in sorted(files) if path.endswith(SHARD) and path not in self._skipped]

    def _row_groups(self, path: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """The row groups of a shard; none more once it proves unreadable.

        Raises:
            FileNotFoundError: it is gone.
            OSError: the storage failed, not the shard.
        """
        try:
            with self._filesystem.open_input_file(path) as stream:
                # Far storage wants few large requests; at home they only wake a thread for every small shard.
                yield from _parse(stream, path, columns, pre_buffer=self._filesystem.type_name != "local")
        except FileNotFoundError:
            raise
        except _ForeignError as error:
            self._put_aside(path, str(error))
        except UNREADABLE:
            reason = self._damage(path)
            if reason is None:
                raise
            self._put_aside(path, reason)

    def _damage(self, path: str) -> str | None:
        """Why a shard cannot be read, None if it can. Reads it whole first: a failing storage is no damage."""
        with self._filesystem.open_input_stream(path) as stream:
            content = stream.read()
        try:
            for _ in _parse(pa.BufferReader(content), path, columns=None):
                pass
        except _ForeignError as error:
            return str(error)
        except UNREADABLE as error:
            return f"it is damaged or cut short ({first_line(error)})"
        return None

    def _put_aside(self, path: str, reason: str) -> None:
        if self._read_only:
            self._skipped[path] = SetAside(path, reason)
        else:
            with suppress(FileNotFoundError):  # another reader was faster
                self._filesystem.move(path, path + ASIDE)
        _log.warning("%s is set aside, its episodes count as missing: %s", path, reason)

    def _publish(self, content: pa.Buffer, place: str | None = None) -> None:
        """Make a shard appear: all of it or nothing. ``place`` begins its name; without one it is the newest."""
        name = uuid4().hex
        partial = f"{self._folder}/{name}{PARTIAL}"
        try:
            with self._filesystem.open_output_stream(partial) as stream:
                stream.write(content)
            # The time of the move, not of the start, so that no shard slips in before one that was read already.
            place = place or f"{time.time_ns():020d}"
            self._filesystem.move(partial, f"{self._folder}/{place}-{name}{SHARD}")
        except OSError as error:
            with suppress(OSError):  # a temporary file that stays is ignored by every reader
                self._filesystem.delete_file(partial)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"No space is left for trajectories in {self._folder}: free some, or move the folder to a larger "
                    "disk, then run the same command again; what was written before is kept."
                ) from error
            raise

    def _merge(self, paths: Sequence[str], seen: set[Key]) -> None:
        tables = (_unseen(table, seen) for path in paths for table in self._row_groups(path, columns=None))
        self._publish(_shard(tables), _place(paths[0]))
        for path in paths:
            with suppress(FileNotFoundError):  # set aside above, or merged by another process as well
                self._filesystem.delete_file(path)

    def _remove_abandoned(self) -> None:
        oldest_ns = time.time_ns() - ABANDONED_AFTER_NS
        for file in self._files():
            if file.path.endswith(PARTIAL) and file.mtime_ns is not None and file.mtime_ns < oldest_ns:
                with suppress(FileNotFoundError):
                    self._filesystem.delete_file(file.path)


class _ForeignError(Exception):
    """Parquet, but not ours."""


def _resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ImportError) as error:
        raise UserError(
            f"The storage {uri} cannot be opened ({error}): give a local folder or a URI that pyarrow knows, such as "
            "file://, s3:// or gs://."
        ) from error
    return filesystem, path


def _shard(tables: Iterable[pa.Table]) -> pa.Buffer:
    """The bytes of a Parquet file; small tables share a row group."""
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
    """The tables joined until they reach `ROW_GROUP_BYTES`."""
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


def _parse(
    source: pa.NativeFile, path: str, columns: Sequence[str] | None, pre_buffer: bool = False
) -> Iterator[pa.Table]:
    """The row groups of a shard; raises `_ForeignError` for a foreign one and `UserError` for a newer one."""
    file = pq.ParquetFile(source, pre_buffer=pre_buffer, page_checksum_verification=True)
    _check_schema(file.schema_arrow, path)
    for index in range(file.num_row_groups):
        yield file.read_row_group(index, columns=columns, use_threads=False)  # a worker is one of many on its machine


def _check_schema(schema: pa.Schema, path: str) -> None:
    version = (schema.metadata or {}).get(VERSION_METADATA, b"")
    if not version.isdigit():
        raise _ForeignError("it is a Parquet file of another tool")
    if int(version) > SCHEMA_VERSION:
        raise UserError(
            f"{path} was written by a newer Stillhouse (trajectory schema {int(version)}, this one reads up to "
            f"{SCHEMA_VERSION}): update Stillhouse, or use another folder."
        )
    if not schema.equals(trajectory_schema()):
        raise _ForeignError(f"its columns are not those of trajectory schema {int(version)}")


def _unseen(table: pa.Table, seen: set[Key]) -> pa.Table:
    """The rows whose keys are not in ``seen``, to which they are added."""
    mask = []
    for key in table_keys(table):
        mask.append(key not in seen)
        seen.add(key)
    return table if all(mask) else table.filter(pa.array(mask))


def _only(table: pa.Table, keys: Collection[Key]) -> pa.Table:
    """The rows with these keys."""
    return table.filter(pa.array([key in keys for key in table_keys(table)], pa.bool_()))


def _neighbours(shards: Iterable[pafs.FileInfo], shard_bytes: int) -> Iterator[list[str]]:
    """Runs of shards whose sizes add up to ``shard_bytes`` at most; a larger one is alone."""
    group: list[str] = []
    size = 0
    for shard in shards:
        if group and size + shard.size > shard_bytes:
            yield group
            group, size = [], 0
        group.append(shard.path)
        size += shard.size
    if group:
        yield group


def _place(path: str) -> str:
    """The part of a shard's name that gives its place in the order."""
    return PurePosixPath(path).stem.partition("-")[0]
