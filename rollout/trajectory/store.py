"""Trajectories on disk: a folder of Parquet shards on any `pyarrow.fs` filesystem.

Every write creates one shard: it writes a temporary file and moves it to its final name, so that a shard appears
atomically. Names begin with the time of the move and end with a random part; many processes may write to one folder.
If a key was written twice, the first version in the order of names is read. Episodes that are owed count as missing
(`rollout.trajectory.is_owed`), so that a completed version wins. A shard that cannot be read is renamed and its
episodes count as missing; no other file is changed in place. Compaction merges shards and writes their keys to a
manifest, which is replaced as a whole and believed only about shards that are as they were then.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pafs

from rollout.errors import UserError
from rollout.messages import first_line
from rollout.trajectory.arrow import (
    CAUSE_COLUMN,
    KEY_COLUMNS,
    SUMMARY_COLUMNS,
    completed_rows,
    from_table,
    key_table,
    owed_rows,
    table_keys,
    to_table,
)
from rollout.trajectory.manifest import DAMAGE, MANIFEST_NAME, ShardId, shard_id
from rollout.trajectory.manifest import decode as decode_manifest
from rollout.trajectory.manifest import encode as encode_manifest
from rollout.trajectory.record import Key, Trajectory
from rollout.trajectory.shard import ForeignFileError, encode, parse

SHARD_SUFFIX, PARTIAL_SUFFIX, SET_ASIDE_SUFFIX = ".parquet", ".partial", ".set-aside"
ABANDONED_AFTER_NS = 24 * 3600 * 10**9
"""Age at which compaction deletes a temporary file, assuming that its writer died."""
SHARD_BYTES = 256 * 2**20
"""Size up to which compaction merges shards."""
UNREADABLE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, OSError)
"""Errors that pyarrow raises for damaged files; it also raises OSError if the storage fails."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnreadableShard:
    """A shard that cannot be read. ``path`` is its current name; ``reason`` is a human-readable message."""

    path: str
    reason: str


class TrajectoryStore:
    """The episodes in one folder, each key once. Safe for concurrent writers, readers and compaction."""

    def __init__(
        self, uri: str | os.PathLike[str], read_only: bool = False, filesystem: pafs.FileSystem | None = None
    ) -> None:
        """Open ``uri``: a local path or a URI that pyarrow supports, such as ``file://``, ``s3://`` or ``gs://``.

        Args:
            uri: the folder; created if it does not exist, unless ``read_only``.
            read_only: never change the folder; unreadable shards are skipped and reported, but not renamed.
            filesystem: if given, ``uri`` is a path in this filesystem.

        Raises:
            UserError: the URI's filesystem cannot be opened, or the folder cannot be created.
        """
        self._read_only = read_only
        self._filesystem, folder = (filesystem, os.fspath(uri)) if filesystem else _resolve(os.fspath(uri))
        self._folder = folder.rstrip("/")
        self._skipped: dict[str, UnreadableShard] = {}
        if not read_only:
            try:
                self._filesystem.create_dir(self._folder, recursive=True)
            except OSError as error:
                raise UserError(f"The folder {uri} cannot be created ({error}): choose another one.") from error

    def exists(self) -> bool:
        """Whether the folder exists."""
        return bool(self._filesystem.get_file_info(self._folder).type == pafs.FileType.Directory)

    def write(self, trajectories: Iterable[Trajectory]) -> None:
        """Write one shard. Keys that exist already keep their first version.

        Raises:
            UserError: no space is left; no part of the shard is visible then.
        """
        self._check_writable()
        table = to_table(trajectories)
        if table.num_rows == 0:
            return
        self._publish(encode([table]))

    def keys(self) -> set[Key]:
        """The keys of all readable episodes."""
        return {key for table in self.key_tables() for key in table_keys(table)}

    def key_tables(self) -> Iterator[pa.Table]:
        """Yield the keys of all readable episodes as tables of `KEY_COLUMNS`; some may be there twice.

        The keys of shards in the manifest (`rollout.trajectory.manifest`) are read from there. Other shards are opened.
        """
        known = self._manifest()
        return self._tables(lambda shard: self._keys_of(shard, known))

    def _keys_of(self, shard: pafs.FileInfo, known: Mapping[ShardId, pa.Table]) -> Iterator[pa.Table]:
        table = known.get(shard_id(shard))
        return self._selected(shard.path, KEY_COLUMNS, completed_rows) if table is None else iter([table])

    def read(self, keys: Collection[Key] | None = None) -> Iterator[Trajectory]:
        """Yield each episode once, in a stable order, with one row group in memory at a time.

        Args:
            keys: keys of the episodes to read; None reads all. Reading stops when all of them were found.

        Raises:
            UserError: a shard was written by a newer version. `keys`, `summaries`, `tables` and `compact` raise it too.
        """
        missing = None if keys is None else set(keys)
        for table in self.tables():
            wanted = table if missing is None else _select(table, missing)
            yield from from_table(wanted)
            if missing is not None:
                missing.difference_update(table_keys(wanted))
                if not missing:
                    return

    def summaries(self) -> Iterator[Trajectory]:
        """Like `read`, but episodes have ``segments=()`` and the segment columns are not read."""
        return (trajectory for table in self.tables(SUMMARY_COLUMNS) for trajectory in from_table(table))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the same episodes as Arrow tables with `rollout.trajectory.arrow.trajectory_schema`.

        Args:
            columns: names of the current schema; they must include `KEY_COLUMNS`. None reads all.
        """
        seen: set[Key] = set()
        return (_unseen(table, seen) for table in self.repeated_tables(columns))

    def repeated_tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Like `tables`, but a key that was written twice comes twice. Needs no memory for the keys."""
        select = partial(self._selected, columns=columns, rows=completed_rows)
        return self._tables(lambda shard: select(shard.path))

    def owed(self) -> Iterator[Trajectory]:
        """Summaries of the episodes that are owed and were not completed since (`rollout.trajectory.is_owed`).

        Older versions stored them; `keys`, `read`, `summaries` and `tables` leave them out, and compaction drops them.
        """
        if not any(table.num_rows for table in self._owed_tables(KEY_COLUMNS)):
            return iter(())
        seen = self.keys()
        tables = (_unseen(table, seen) for table in self._owed_tables(SUMMARY_COLUMNS))
        return (trajectory for table in tables for trajectory in from_table(table))

    def _owed_tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        select = partial(self._selected, columns=columns, rows=owed_rows)
        return self._tables(lambda shard: select(shard.path))

    def _tables(self, read: Callable[[pafs.FileInfo], Iterator[pa.Table]]) -> Iterator[pa.Table]:
        """Yield what ``read`` yields of all shards."""
        done: set[str] = set()
        pending = deque(self._shards())
        while pending:
            shard = pending.popleft()
            done.add(shard.path)
            try:
                yield from read(shard)
            except FileNotFoundError:  # compacted or renamed by another process: list the folder again
                pending = deque(shard for shard in self._shards() if shard.path not in done)

    def _selected(
        self, path: str, columns: Sequence[str] | None, rows: Callable[[pa.Table], pa.Table]
    ) -> Iterator[pa.Table]:
        """Yield the selected rows of a shard."""
        needed = columns if columns is None else list(dict.fromkeys([*columns, CAUSE_COLUMN]))
        for table in self._row_groups(path, needed):
            selected = rows(table)
            yield selected if columns is None else selected.select(list(columns))

    def is_compact(self, shard_bytes: int = SHARD_BYTES) -> bool:
        """Whether `compact` would merge nothing, and the manifest has all shards. Opens no shard."""
        shards, known = self._shards(), self._manifest()
        is_merged = all(len(group) == 1 for group in _adjacent_groups(shards, shard_bytes))
        return is_merged and all(shard_id(shard) in known for shard in shards)

    def compact(self, shard_bytes: int = SHARD_BYTES) -> None:
        """Merge adjacent shards up to about ``shard_bytes``, and write the manifest. Deletes files of dead writers.

        A crash at any point loses nothing: old shards are deleted only after the new one is in place, and a key that
        is in both is read once. The new shard keeps the position of the first shard that it replaces.
        """
        self._check_writable()
        self._remove_abandoned()
        known, seen = self._manifest(), set[Key]()
        with suppress(FileNotFoundError):  # another process is compacting this folder
            for group in _adjacent_groups(self._shards(), shard_bytes):
                if len(group) > 1:
                    self._merge([shard.path for shard in group], seen)
                else:
                    seen.update(key for table in self._keys_of(group[0], known) for key in table_keys(table))
            self._write_manifest(known)

    def _manifest(self) -> dict[ShardId, pa.Table]:
        """Keys by shard, also of shards that were merged since; empty if there is no manifest that can be read."""
        path = f"{self._folder}/{MANIFEST_NAME}"
        try:
            with self._filesystem.open_input_stream(path) as stream:
                return decode_manifest(pa.py_buffer(stream.read()))
        except FileNotFoundError:
            return {}
        except DAMAGE as error:
            _log.warning("%s is ignored, and its shards are opened: %s", path, first_line(error))
            return {}

    def _write_manifest(self, known: Mapping[ShardId, pa.Table]) -> None:
        keys: dict[ShardId, pa.Table] = {}
        for shard in self._shards():
            tables = list(self._keys_of(shard, known))
            keys[shard_id(shard)] = pa.concat_tables(
                [key_table(()), *(table.cast(key_table(()).schema) for table in tables)]
            )
        if keys.keys() != known.keys():
            self._replace(lambda: MANIFEST_NAME, encode_manifest(keys))

    def unreadable_shards(self) -> list[UnreadableShard]:
        """All shards that were renamed in this folder or skipped by this object, sorted by path."""
        paths = [file.path for file in self._files() if file.path.endswith(SET_ASIDE_SUFFIX)]
        renamed = [
            UnreadableShard(path, self._damage(path) or "it was set aside but can be read now") for path in paths
        ]
        return sorted([*self._skipped.values(), *renamed], key=lambda shard: shard.path)

    def _check_writable(self) -> None:
        if self._read_only:
            raise ValueError(f"the store {self._folder} was opened read-only")

    def _files(self) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self._folder, allow_not_found=True)
        return [file for file in self._filesystem.get_file_info(selector) if file.is_file]

    def _shards(self) -> list[pafs.FileInfo]:
        """The shards in the order of their names, which is the order in which they were written."""
        # Twice: one listing during a compaction may miss both the old shards and the new one.
        files = {file.path: file for _ in range(2) for file in self._files()}
        return [files[path] for path in sorted(files) if path.endswith(SHARD_SUFFIX) and path not in self._skipped]

    def _row_groups(self, path: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Yield the row groups of a shard, up to the first one that cannot be read.

        Raises:
            FileNotFoundError: the shard no longer exists.
            OSError: the storage failed.
        """
        try:
            with self._filesystem.open_input_file(path) as stream:
                # Remote storage needs few large requests; for local files they would only cost a thread per shard.
                yield from parse(stream, path, columns, pre_buffer=self._filesystem.type_name != "local")
        except FileNotFoundError:
            raise
        except ForeignFileError as error:
            self._set_aside(path, str(error))
        except UNREADABLE:
            reason = self._damage(path)
            if reason is None:
                raise
            self._set_aside(path, reason)

    def _damage(self, path: str) -> str | None:
        """Why a shard cannot be read; None if it can. Reads the whole file first, so that storage errors are raised."""
        with self._filesystem.open_input_stream(path) as stream:
            content = stream.read()
        try:
            for _ in parse(pa.BufferReader(content), path, columns=None):
                pass
        except ForeignFileError as error:
            return str(error)
        except UNREADABLE as error:
            return f"it is damaged or cut short ({first_line(error)})"
        return None

    def _set_aside(self, path: str, reason: str) -> None:
        if self._read_only:
            self._skipped[path] = UnreadableShard(path, reason)
        else:
            with suppress(FileNotFoundError):  # another reader renamed it first
                self._filesystem.move(path, path + SET_ASIDE_SUFFIX)
        action = "skipped" if self._read_only else "set aside"
        _log.warning("%s is %s and its episodes count as missing: %s", path, action, reason)

    def _publish(self, content: pa.Buffer, prefix: str | None = None) -> None:
        """Write a shard atomically. ``prefix`` begins its name and sets its position; None makes it the last one."""
        # The time of the move, not of the start: no shard may appear before one that was already read.
        self._replace(lambda: f"{prefix or f'{time.time_ns():020d}'}-{uuid4().hex}{SHARD_SUFFIX}", content)

    def _replace(self, name: Callable[[], str], content: pa.Buffer) -> None:
        """Write a file atomically; its name is asked for when it is there under a temporary one."""
        temporary = f"{self._folder}/{uuid4().hex}{PARTIAL_SUFFIX}"
        try:
            with self._filesystem.open_output_stream(temporary) as stream:
                stream.write(content)
            self._filesystem.move(temporary, f"{self._folder}/{name()}")
        except OSError as error:
            with suppress(OSError):  # readers ignore a temporary file that remains
                self._filesystem.delete_file(temporary)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"No space is left for trajectories in {self._folder}: free some, or move the folder to a larger "
                    "disk, then run the same command again; episodes written before are kept."
                ) from error
            raise

    def _merge(self, paths: Sequence[str], seen: set[Key]) -> None:
        tables = (_unseen(table, seen) for path in paths for table in self._selected(path, None, completed_rows))
        self._publish(encode(tables), _order_prefix(paths[0]))
        for path in paths:
            with suppress(FileNotFoundError):  # renamed above, or merged by another process
                self._filesystem.delete_file(path)

    def _remove_abandoned(self) -> None:
        oldest_ns = time.time_ns() - ABANDONED_AFTER_NS
        for file in self._files():
            if file.path.endswith(PARTIAL_SUFFIX) and file.mtime_ns is not None and file.mtime_ns < oldest_ns:
                with suppress(FileNotFoundError):
                    self._filesystem.delete_file(file.path)


def _resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ImportError) as error:
        raise UserError(
            f"The storage {uri} cannot be opened ({error}): use a local folder or a URI that pyarrow supports, such as "
            "file://, s3:// or gs://."
        ) from error
    return filesystem, path


def _unseen(table: pa.Table, seen: set[Key]) -> pa.Table:
    """Select the rows whose keys are not in ``seen``, and add the keys to it."""
    mask = []
    for key in table_keys(table):
        mask.append(key not in seen)
        seen.add(key)
    return table if all(mask) else table.filter(pa.array(mask))


def _select(table: pa.Table, keys: Collection[Key]) -> pa.Table:
    """Select the rows with these keys."""
    return table.filter(pa.array([key in keys for key in table_keys(table)], pa.bool_()))


def _adjacent_groups(shards: Iterable[pafs.FileInfo], shard_bytes: int) -> Iterator[list[pafs.FileInfo]]:
    """Group adjacent shards up to a total of ``shard_bytes``; a larger shard forms its own group."""
    group: list[pafs.FileInfo] = []
    size = 0
    for shard in shards:
        if group and size + shard.size > shard_bytes:
            yield group
            group, size = [], 0
        group.append(shard)
        size += shard.size
    if group:
        yield group


def _order_prefix(path: str) -> str:
    """The part of a shard's name that determines its position in the order."""
    return PurePosixPath(path).stem.partition("-")[0]
