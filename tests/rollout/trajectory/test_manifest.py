"""The manifest saves opening shards and is never believed against them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.trajectory import Key
from rollout.trajectory.manifest import MANIFEST_NAME
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.stores import DiesAt, episode, faulty_store, shards


def opened(folder: Path) -> int:
    """Number of shards that are opened to read all keys."""
    operations: list[str] = []
    faulty_store(folder, operations.append).keys()
    return operations.count("read")


def tasks(folder: Path) -> set[str]:
    return {key.task for key in TrajectoryStore(folder, read_only=True).keys()}  # noqa: SIM118 (it is no dictionary)


def written(folder: Path, *names: str) -> TrajectoryStore:
    """A store with one shard for each name, whose characters are its tasks.

    It has the filesystem of `opened`, because filesystems do not agree on fractions of microseconds.
    """
    folder.mkdir(exist_ok=True)
    store = faulty_store(folder, lambda operation: None)
    for name in names:
        store.write(map(episode, name))
    return store


def test_keys_of_a_compact_store_are_read_without_opening_a_shard(tmp_path: Path) -> None:
    store = written(tmp_path, "ab", "c", "d")
    assert opened(tmp_path) == 3
    store.compact(shard_bytes=1)
    assert len(shards(tmp_path)) == 3
    assert opened(tmp_path) == 0
    assert store.keys() == {Key("teacher", 0, task, 0) for task in "abcd"}


def test_only_shards_that_are_newer_than_the_manifest_are_opened(tmp_path: Path) -> None:
    store = written(tmp_path, "ab", "c")
    store.compact()
    written(tmp_path, "d", "e")
    assert opened(tmp_path) == 2
    assert tasks(tmp_path) == set("abcde")


def test_a_store_is_compact_when_its_manifest_has_all_shards(tmp_path: Path) -> None:
    store = written(tmp_path, "a")
    assert not store.is_compact()
    store.compact()
    assert store.is_compact()
    written(tmp_path, "b")
    assert not store.is_compact()
    store.compact()
    (tmp_path / MANIFEST_NAME).unlink()
    assert not store.is_compact()


def test_a_shard_that_was_replaced_by_another_of_the_same_name_and_size_is_opened(tmp_path: Path) -> None:
    written(tmp_path / "store", "a").compact()
    written(tmp_path / "other", "b")
    (shard,), (other,) = shards(tmp_path / "store"), shards(tmp_path / "other")
    assert shard.stat().st_size == other.stat().st_size
    shutil.copyfile(other, shard)
    os.utime(shard, ns=(0, 1))
    assert tasks(tmp_path / "store") == {"b"}


def test_keys_of_shards_that_are_gone_are_not_there(tmp_path: Path) -> None:
    written(tmp_path, "ab", "c").compact(shard_bytes=1)
    shards(tmp_path)[0].unlink()
    assert tasks(tmp_path) == {"c"}


def test_a_damaged_shard_counts_as_missing_whatever_the_manifest_says(tmp_path: Path) -> None:
    store = written(tmp_path, "ab", "c")
    store.compact(shard_bytes=1)
    shard = shards(tmp_path)[0]
    shard.write_bytes(shard.read_bytes()[:-9])
    assert tasks(tmp_path) == {"c"}
    assert [damaged.path for damaged in store.unreadable_shards()] == []
    assert store.keys() == {Key("teacher", 0, "c", 0)}
    assert len(store.unreadable_shards()) == 1


def test_a_reader_changes_no_manifest(tmp_path: Path) -> None:
    written(tmp_path, "ab")
    assert tasks(tmp_path) == {"a", "b"}
    assert not (tmp_path / MANIFEST_NAME).exists()


def damage(manifest: Path, how: str, at: float) -> None:
    """Change a manifest in one of the ways in which files are changed by accident."""
    content = manifest.read_bytes()
    place = int(at * (len(content) - 1))
    if how == "cut":
        manifest.write_bytes(content[:place])
    elif how == "flip":
        manifest.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    elif how == "delete":
        manifest.unlink()


@settings(max_examples=25, deadline=None)
@given(how=st.sampled_from(["cut", "flip", "delete", "none"]), at=st.floats(0, 1), data=st.data())
def test_a_damaged_stale_or_missing_manifest_adds_and_hides_no_key(how: str, at: float, data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = written(folder, "ab", "c", "de")
        store.compact(shard_bytes=data.draw(st.sampled_from([1, 2**20])))
        written(folder, *data.draw(st.lists(st.text("cfgh", min_size=1, max_size=3), max_size=2)))
        if data.draw(st.booleans()):
            data.draw(st.sampled_from(shards(folder))).unlink()
        truth = {episode.key for episode in TrajectoryStore(folder, read_only=True).summaries()}
        damage(folder / MANIFEST_NAME, how, at)
        assert TrajectoryStore(folder, read_only=True).keys() == truth
        store.compact()
        assert store.keys() == truth
        assert (len(shards(folder)) <= 1, opened(folder)) == (True, 0)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet"])
def test_a_file_that_is_no_manifest_is_ignored(tmp_path: Path, content: bytes) -> None:
    written(tmp_path, "ab")
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    assert tasks(tmp_path) == {"a", "b"}


def test_a_manifest_of_another_store_is_ignored(tmp_path: Path) -> None:
    written(tmp_path / "a", "ab").compact()
    written(tmp_path / "b", "c").compact()
    shutil.copy(tmp_path / "a" / MANIFEST_NAME, tmp_path / "b" / MANIFEST_NAME)
    assert tasks(tmp_path / "b") == {"c"}


@pytest.mark.parametrize("last", range(1, 14))
def test_a_compaction_that_is_killed_anywhere_leaves_every_key_once(tmp_path: Path, last: int) -> None:
    store = written(tmp_path, "ab", "c")
    store.compact()
    written(tmp_path, "d", "ae")
    with suppress(OSError, pa.ArrowException):
        faulty_store(tmp_path, DiesAt(last)).compact()
    assert tasks(tmp_path) == set("abcde")
    assert sorted(each.key.task for each in TrajectoryStore(tmp_path).read()) == list("abcde")
    store.compact()
    assert (tasks(tmp_path), opened(tmp_path), len(shards(tmp_path))) == (set("abcde"), 0, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "compact", "cut the manifest"]), st.text("abcdef", min_size=1, max_size=4))
        | st.tuples(st.just("die"), st.integers(1, 12)),
        max_size=12,
    )
)
def test_whatever_dies_at_whatever_moment_what_was_written_is_read_once_and_nothing_else_is(
    operations: list[tuple[str, str | int]],
) -> None:
    with TemporaryDirectory() as name:
        folder, dies_at = Path(name), 10**9
        reported, begun = set[str](), set[str]()
        for operation, value in operations:
            if operation == "die":
                dies_at = int(value)
                continue
            store = faulty_store(folder, DiesAt(dies_at))
            with suppress(OSError, pa.ArrowException):
                if operation == "write":
                    begun |= set(str(value))
                    store.write(map(episode, str(value)))
                    reported |= set(str(value))
                elif operation == "compact":
                    store.compact(shard_bytes=2**14)
                elif (folder / MANIFEST_NAME).exists():
                    damage(folder / MANIFEST_NAME, "cut", 0.7)
            dies_at = 10**9
            read = [each.key.task for each in TrajectoryStore(folder, read_only=True).read()]
            assert len(read) == len(set(read))
            assert reported <= set(read) <= begun
            assert tasks(folder) == set(read)
