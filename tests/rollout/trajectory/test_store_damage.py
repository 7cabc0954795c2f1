"""The store loses and duplicates nothing under damage, full disks, crashes and concurrent access."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.errors import UserError
from rollout.trajectory import (
    SCHEMA_VERSION,
    Key,
)
from rollout.trajectory.arrow import to_table
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.stores import DiesAt, episode, faulty_store, shards
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]


@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 0.999))
def test_a_truncated_shard_is_reported_and_renamed_and_its_episodes_are_missing(part: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = TrajectoryStore(folder)
        store.write([episode("a")])
        [shard] = shards(Path(folder))
        store.write([episode("b")])
        content = shard.read_bytes()
        shard.write_bytes(content[: int(part * len(content))])
        assert store.keys() == {episode("b").key}
        [aside] = store.unreadable_shards()
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
        assert shard.exists() is (store.unreadable_shards() == [])


def test_a_shard_whose_column_names_are_damaged_is_set_aside(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    [shard] = shards(tmp_path)
    shard.write_bytes(shard.read_bytes().replace(b"tail_mass", b"tail\xe8mass"))
    assert list(store.read()) == []
    assert "damaged" in store.unreadable_shards()[0].reason


def test_a_foreign_parquet_file_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), tmp_path / "prices.parquet")
    store = TrajectoryStore(tmp_path)
    assert list(store.read()) == []
    [aside] = store.unreadable_shards()
    assert (Path(aside.path).name, aside.reason) == (
        "prices.parquet.set-aside",
        "it is a Parquet file of another tool",
    )


def test_a_shard_with_other_columns_than_its_version_has_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(to_table([episode()]).drop_columns("total_s"), tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path)
    assert store.keys() == set()
    assert f"columns are not those of trajectory schema {SCHEMA_VERSION}" in store.unreadable_shards()[0].reason


def test_a_shard_of_a_newer_version_is_a_user_error_and_stays(tmp_path: Path) -> None:
    newer = to_table([episode()]).replace_schema_metadata({"stillhouse.trajectory_schema": "999"})
    pq.write_table(newer, tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path)
    for use in (store.keys, lambda: list(store.read()), store.compact):
        with pytest.raises(UserError, match=r"0-x\.parquet was written by a newer Stillhouse .*999.*update"):
            use()
    assert shards(tmp_path) == [tmp_path / "0-x.parquet"]


def test_a_read_only_store_reports_an_unreadable_shard_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    store = TrajectoryStore(tmp_path, read_only=True)
    assert store.keys() == set()
    assert [aside.path for aside in store.unreadable_shards()] == [str(tmp_path / "cut.parquet")]
    assert list(tmp_path.iterdir()) == [tmp_path / "cut.parquet"]
    for use in (store.compact, lambda: store.write([episode()])):
        with pytest.raises(ValueError, match="read-only"):
            use()


def test_a_storage_error_is_raised_and_no_shard_is_set_aside(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([episode()])

    def fault(operation: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "the network is down")

    with pytest.raises(OSError, match="the network is down"):
        faulty_store(tmp_path, fault).keys()
    assert TrajectoryStore(tmp_path).keys() == {episode().key}


@pytest.mark.parametrize("full_at", ["open", "write", "move"])
def test_a_full_disk_is_a_user_error_and_leaves_no_partial_shard(tmp_path: Path, full_at: str) -> None:
    TrajectoryStore(tmp_path).write([episode("a")])

    def fault(operation: str) -> None:
        if operation == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=f"No space is left for trajectories in {tmp_path}: free some"):
        faulty_store(tmp_path, fault).write([episode("b")])
    assert list(tmp_path.iterdir()) == shards(tmp_path)
    assert list(TrajectoryStore(tmp_path).read()) == [episode("a")]


def test_a_crash_at_any_point_of_a_write_leaves_the_whole_shard_or_nothing(tmp_path: Path) -> None:
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


def test_a_crash_at_any_point_of_a_compaction_loses_and_duplicates_nothing(tmp_path: Path) -> None:
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
    assert {1, 2, 4, 5} <= sizes, "crashes before the move, between deletions, and no crash"


def test_temporary_files_of_dead_writers_are_ignored_and_deleted_after_a_day(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    for leftover in (old, new):
        leftover.write_bytes(shards(tmp_path)[0].read_bytes()[:100])
    os.utime(old, times=(time.time() - 25 * 3600,) * 2)
    assert (list(store.read()), store.unreadable_shards()) == ([episode()], [])
    store.compact()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_reader_continues_while_the_folder_is_compacted(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    for task in "abcde":
        store.write([episode(task)])
    reading = store.read()
    first = [next(reading), next(reading)]
    TrajectoryStore(tmp_path).compact()
    assert [*first, *reading] == [episode(task) for task in "abcde"]


def test_concurrent_compactions_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    for task in "abc":
        TrajectoryStore(tmp_path).write([episode(task)])
    reads = 0

    def other_compacts(operation: str) -> None:
        nonlocal reads
        reads += operation == "read"
        if reads == 2:
            TrajectoryStore(tmp_path).compact()

    faulty_store(tmp_path, other_compacts).compact()
    assert reads == 2, "it stopped because the other one compacted the folder"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".manifest", ".parquet"]
    assert list(TrajectoryStore(tmp_path).read()) == [episode(task) for task in "abc"]


def test_compaction_does_not_change_large_shards_and_respects_the_size(tmp_path: Path) -> None:
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
    assert [aside.path for aside in store.unreadable_shards()] == [f"{damaged}.set-aside"]


WRITER = """
import sys, itertools
from dataclasses import replace
from rollout.trajectory.store import TrajectoryStore
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


def test_processes_that_write_to_one_folder_do_not_interfere(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, count=10) for name in ("one", "two")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    store = TrajectoryStore(tmp_path)
    expected = {Key("teacher", 0, task, attempt) for task in ("one", "two", "shared") for attempt in range(10)}
    read = list(store.read())
    assert (len(shards(tmp_path)), len(read)) == (20, 30)
    assert {one.key for one in read} == expected
    store.compact()
    assert list(store.read()) == read


def test_a_killed_writer_leaves_only_whole_shards(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "one", count=0)
    wait_until(lambda: len(shards(tmp_path)) >= 5 or writer.poll() is not None, "five shards", poll_s=0.001)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(timeout=60) == -signal.SIGKILL
    store = TrajectoryStore(tmp_path)
    assert len(store.keys()) == 2 * len(shards(tmp_path)) >= 10
    assert (len(list(store.read())), store.unreadable_shards()) == (len(store.keys()), [])
