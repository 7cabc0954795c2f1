"""The store: whole shards or none, each key once, and nothing that is damaged gets through."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.errors import UserError
from rollout.schema import KEY_COLUMNS, to_table
from rollout.store import TrajectoryStore
from rollout.trajectory import (
    Author,
    Identity,
    Key,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    TopK,
    Trajectory,
)

REPOSITORY = Path(__file__).parents[2]


def episode(task: str = "a", attempt: int = 0, text: str = "go") -> Trajectory:
    teacher = TopK(((3, 4), (5,)), ((-0.1, -3.0), (-0.2,)), (0.05, 0.2))
    return Trajectory(
        Identity("run", "teacher", 0, task, attempt, "household", "train"),
        Policy("model", 0, "react"),
        Outcome(1.0, True, StopReason.SUCCESS),
        (
            Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 0, "You see a cabinet.", (1, 2)),
            Segment(Kind.ACT, Author.MODEL, 1, text, (3, 5), (-0.1, -0.2), teacher),
        ),
    )


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


class FaultyFiles(pafs.FSSpecHandler):
    """The local filesystem, but ``fault`` is called with the name of each operation before it is done."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        super().__init__(fsspec.filesystem("file"))
        self._fault = fault

    def move(self, src: str, dest: str) -> None:
        self._fault("move")
        super().move(src, dest)

    def delete_file(self, path: str) -> None:
        self._fault("delete")
        super().delete_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self._fault("read")
        return super().open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        self._fault("open")
        return pa.PythonFile(FaultyFile(path, self._fault), mode="w")


class FaultyFile:
    def __init__(self, path: str, fault: Callable[[str], None]) -> None:
        self._file = io.FileIO(path, "w")
        self._fault = fault

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, content: bytes) -> int:
        self._file.write(content[: len(content) // 2])
        self._fault("write")
        return self._file.write(content[len(content) // 2 :])

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def faulty_store(folder: Path | str, fault: Callable[[str], None]) -> TrajectoryStore:
    return TrajectoryStore(folder, filesystem=pafs.PyFileSystem(FaultyFiles(fault)))


class DiesAt:
    """The ``last``-th operation and all later ones fail: the process is as good as dead from then on."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, operation: str) -> None:
        if operation in {"open", "write", "move", "delete"}:
            self.left -= 1
            if self.left <= 0:
                raise OSError(errno.EIO, "the process died")


def test_episodes_are_read_as_written_in_the_order_of_writing(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    written = [episode(task) for task in "dbac"]
    store.write(written[:2])
    store.write(written[2:])
    assert list(store.read()) == written
    assert list(TrajectoryStore(tmp_path, read_only=True).read()) == written
    assert store.keys() == {one.key for one in written}


def test_an_empty_or_absent_folder_has_no_episodes(tmp_path: Path) -> None:
    assert TrajectoryStore(tmp_path / "new").keys() == set()
    absent = TrajectoryStore(tmp_path / "absent", read_only=True)
    assert (list(absent.read()), absent.set_aside()) == ([], [])
    assert not (tmp_path / "absent").exists()


def test_writing_nothing_leaves_no_shard(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([])
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_written_twice_counts_as_first_written(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode("a", text="first"), episode("a", text="same shard")])
    TrajectoryStore(tmp_path).write([episode("b"), episode("a", text="later shard")])
    assert list(store.read()) == [episode("a", text="first"), episode("b")]
    assert [one.key for one in store.summaries()] == [Key("teacher", 0, "a", 0), Key("teacher", 0, "b", 0)]


OPERATIONS = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.text(max_size=3)), max_size=3)
    | st.sampled_from([1, 5000, 10**9]),
    max_size=6,
)


@settings(deadline=None, max_examples=30)
@given(OPERATIONS)
def test_any_writes_and_compactions_leave_each_key_once_as_first_written(
    operations: list[list[tuple[str, int, str]] | int],
) -> None:
    expected: dict[Key, Trajectory] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = TrajectoryStore(folder)
        for operation in operations:
            if isinstance(operation, int):
                store.compact(shard_bytes=operation)
            else:
                written = [episode(*arguments) for arguments in operation]
                store.write(written)
                for one in written:
                    expected.setdefault(one.key, one)
        assert list(store.read()) == list(expected.values())
        assert store.keys() == set(expected)


def test_summaries_and_keys_read_no_segments(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    blank(shards(tmp_path)[0], keep=lambda column: not column.startswith("segments"))
    [summary] = store.summaries()
    assert (summary.segments, summary.outcome) == ((), episode().outcome)


def test_keys_read_the_key_columns_only(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    blank(shards(tmp_path)[0], keep=lambda column: column in KEY_COLUMNS)
    assert store.keys() == {episode().key}


def blank(path: Path, keep: Callable[[str], bool]) -> None:
    """Overwrite all columns of a Parquet file with zeros but those to ``keep``."""
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    for column in map(group.column, range(group.num_columns)):
        if not keep(column.path_in_schema):
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)


def test_any_pyarrow_filesystem_will_do(tmp_path: Path) -> None:
    stores = [
        TrajectoryStore(tmp_path.as_uri() + "/uri/"),
        TrajectoryStore("mock:///store"),
        TrajectoryStore("sub/store", filesystem=pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())),
    ]
    for store in stores:
        store.write([episode("a")])
        store.write([episode("b")])
        store.compact()
        assert list(store.read()) == [episode("a"), episode("b")]
    assert len(shards(tmp_path / "uri")) == len(shards(tmp_path / "sub" / "store")) == 1


def test_a_storage_that_nobody_knows_is_the_users_error() -> None:
    with pytest.raises(UserError, match="nonsense://bucket/run cannot be opened"):
        TrajectoryStore("nonsense://bucket/run")


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be made"):
        TrajectoryStore(tmp_path / "file" / "store")


@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 0.999))
def test_a_truncated_shard_is_named_and_renamed_and_its_tasks_are_missing(part: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = TrajectoryStore(folder)
        store.write([episode("a")])
        [shard] = shards(Path(folder))
        store.write([episode("b")])
        content = shard.read_bytes()
        shard.write_bytes(content[: int(part * len(content))])
        assert store.keys() == {episode("b").key}
        [aside] = store.set_aside()
        assert aside.path == f"{shard}.set-aside"
        assert "damaged or cut short" in aside.reason
        assert Path(aside.path).exists()
        assert not shard.exists()
        store.write([episode("a")])
        assert list(store.read()) == [episode("b"), episode("a")]


@settings(deadline=None, max_examples=30)
@given(st.floats(0.0, 0.999), st.integers(0, 7))
def test_a_flipped_bit_never_changes_an_episode_unnoticed(part: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = TrajectoryStore(folder)
        store.write([episode("a"), episode("b")])
        [shard] = shards(Path(folder))
        content = bytearray(shard.read_bytes())
        footer = int.from_bytes(content[-8:-4], "little") + 8
        content[int(part * (len(content) - footer))] ^= 1 << bit
        shard.write_bytes(content)
        assert list(store.read()) in ([], [episode("a"), episode("b")])
        assert shard.exists() is (store.set_aside() == [])


def test_a_shard_whose_column_names_are_damaged_is_set_aside(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    [shard] = shards(tmp_path)
    shard.write_bytes(shard.read_bytes().replace(b"tail_mass", b"tail\xe8mass"))
    assert list(store.read()) == []
    assert "damaged" in store.set_aside()[0].reason


def test_a_foreign_parquet_file_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), tmp_path / "prices.parquet")
    store = TrajectoryStore(tmp_path)
    assert list(store.read()) == []
    [aside] = store.set_aside()
    assert (Path(aside.path).name, aside.reason) == (
        "prices.parquet.set-aside",
        "it is a Parquet file of another tool",
    )


def test_a_shard_with_other_columns_than_its_version_has_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(to_table([episode()]).drop_columns("times"), tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path)
    assert store.keys() == set()
    assert "columns are not those of trajectory schema 1" in store.set_aside()[0].reason


def test_a_shard_of_a_newer_version_is_the_users_error_and_stays(tmp_path: Path) -> None:
    newer = to_table([episode()]).replace_schema_metadata({"stillhouse.trajectory_schema": "999"})
    pq.write_table(newer, tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path)
    for use in (store.keys, lambda: list(store.read()), store.compact):
        with pytest.raises(UserError, match=r"0-x\.parquet was written by a newer Stillhouse .*999.*update"):
            use()
    assert shards(tmp_path) == [tmp_path / "0-x.parquet"]


def test_read_only_names_an_unreadable_shard_but_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    store = TrajectoryStore(tmp_path, read_only=True)
    assert store.keys() == set()
    assert [aside.path for aside in store.set_aside()] == [str(tmp_path / "cut.parquet")]
    assert list(tmp_path.iterdir()) == [tmp_path / "cut.parquet"]
    for use in (store.compact, lambda: store.write([episode()])):
        with pytest.raises(ValueError, match="read-only"):
            use()


def test_a_failing_storage_is_an_error_and_sets_nothing_aside(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([episode()])

    def fault(operation: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "the network is down")

    with pytest.raises(OSError, match="the network is down"):
        faulty_store(tmp_path, fault).keys()
    assert TrajectoryStore(tmp_path).keys() == {episode().key}


@pytest.mark.parametrize("full_at", ["open", "write", "move"])
def test_a_full_disk_is_told_in_a_sentence_and_leaves_no_half_shard(tmp_path: Path, full_at: str) -> None:
    TrajectoryStore(tmp_path).write([episode("a")])

    def fault(operation: str) -> None:
        if operation == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=f"No space is left for trajectories in {tmp_path}: free some"):
        faulty_store(tmp_path, fault).write([episode("b")])
    assert list(tmp_path.iterdir()) == shards(tmp_path)
    assert list(TrajectoryStore(tmp_path).read()) == [episode("a")]


def test_a_crash_at_any_point_of_a_write_shows_the_whole_shard_or_nothing(tmp_path: Path) -> None:
    whole = [episode("b"), episode("c")]
    outcomes = set()
    for last in range(1, 10):
        folder = tmp_path / str(last)
        TrajectoryStore(folder).write([episode("a")])
        dying = DiesAt(last)
        try:
            faulty_store(folder, dying).write(whole)
        except OSError:
            assert list(TrajectoryStore(folder).read()) == [episode("a")]
            outcomes.add("nothing")
        else:
            assert list(TrajectoryStore(folder).read()) == [episode("a"), *whole]
            outcomes.add("whole")
            break
    assert outcomes == {"nothing", "whole"}


def test_a_crash_at_any_point_of_a_compaction_loses_and_doubles_nothing(tmp_path: Path) -> None:
    expected = [episode(task) for task in "abcd"]
    sizes = set()
    for last in range(1, 20):
        folder = tmp_path / str(last)
        for one in expected:
            TrajectoryStore(folder).write([one, episode("a", text="later")])
        dying = DiesAt(last)
        with suppress(OSError):
            faulty_store(folder, dying).compact()
        store = TrajectoryStore(folder)
        sizes.add(len(shards(folder)))
        expected_now = [episode("a"), *expected[1:]]
        assert list(store.read()) == expected_now
        store.compact()
        assert list(store.read()) == expected_now
        assert len(shards(folder)) == 1
        if dying.left > 0:
            break
    assert {1, 2, 4, 5} <= sizes, "crashes before the move, among the deletions, and none at all"


def test_leftovers_of_dead_writers_are_ignored_and_cleared_when_they_are_a_day_old(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    for leftover in (old, new):
        leftover.write_bytes(shards(tmp_path)[0].read_bytes()[:100])
    os.utime(old, times=(time.time() - 25 * 3600,) * 2)
    assert (list(store.read()), store.set_aside()) == ([episode()], [])
    store.compact()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_reader_goes_on_while_the_folder_is_compacted(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    for task in "abcde":
        store.write([episode(task)])
    reading = store.read()
    first = [next(reading), next(reading)]
    TrajectoryStore(tmp_path).compact()
    assert [*first, *reading] == [episode(task) for task in "abcde"]


def test_two_compactions_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    for task in "abc":
        TrajectoryStore(tmp_path).write([episode(task)])
    reads = 0

    def other_compacts(operation: str) -> None:
        nonlocal reads
        reads += operation == "read"
        if reads == 2:
            TrajectoryStore(tmp_path).compact()

    faulty_store(tmp_path, other_compacts).compact()
    assert reads == 2, "it left the folder to the other one"
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]
    assert list(TrajectoryStore(tmp_path).read()) == [episode(task) for task in "abc"]


def test_compaction_leaves_large_shards_alone_and_stops_at_the_size(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    for task in "abcd":
        store.write([episode(task)])
    size = max(shard.stat().st_size for shard in shards(tmp_path))
    store.compact(shard_bytes=size)
    assert len(shards(tmp_path)) == 4
    store.compact(shard_bytes=2 * size)
    assert len(shards(tmp_path)) == 2
    assert list(store.read()) == [episode(task) for task in "abcd"]


def test_compaction_sets_a_damaged_shard_aside_and_keeps_the_rest(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    for task in "abc":
        store.write([episode(task)])
    damaged = shards(tmp_path)[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    store.compact()
    assert list(store.read()) == [episode("a"), episode("c")]
    assert [aside.path for aside in store.set_aside()] == [f"{damaged}.set-aside"]


WRITER = """
import sys, itertools
from dataclasses import replace
from rollout.store import TrajectoryStore
from rollout.trajectory import Identity, Outcome, Policy, StopReason, Trajectory
folder, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = TrajectoryStore(folder)
for attempt in range(count) if count else itertools.count():
    identities = [Identity("run", "teacher", 0, task, attempt, "household", "train") for task in ("shared", writer)]
    outcome = Outcome(1.0, True, StopReason.SUCCESS)
    store.write([Trajectory(identity, Policy(writer, 0, "react"), outcome, ()) for identity in identities])
"""


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), name, str(count)], env=environment)


def test_processes_that_write_to_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, count=10) for name in ("one", "two")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    store = TrajectoryStore(tmp_path)
    expected = {Key("teacher", 0, task, attempt) for task in ("one", "two", "shared") for attempt in range(10)}
    read = list(store.read())
    assert (len(shards(tmp_path)), len(read)) == (20, 30)
    assert {one.key for one in read} == expected
    store.compact()
    assert list(store.read()) == read


def test_a_killed_writer_leaves_whole_shards_only(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "one", count=0)
    while len(shards(tmp_path)) < 5 and writer.poll() is None:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(timeout=60) == -signal.SIGKILL
    store = TrajectoryStore(tmp_path)
    assert len(store.keys()) == 2 * len(shards(tmp_path)) >= 10
    assert (len(list(store.read())), store.set_aside()) == (len(store.keys()), [])
