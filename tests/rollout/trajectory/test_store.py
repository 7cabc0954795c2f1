"""The store writes shards atomically, returns each key once, and never returns damaged data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.errors import UserError
from rollout.trajectory import Cause, Failure, Key, Outcome, StopReason, Trajectory
from rollout.trajectory.arrow import CAUSE_COLUMN, KEY_COLUMNS
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.stores import episode, shards


def test_episodes_are_read_as_written_in_the_order_of_writing(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    written = [episode(task) for task in "dbac"]
    store.write(written[:2])
    store.write(written[2:])
    assert list(store.read()) == written
    assert list(TrajectoryStore(tmp_path, read_only=True).read()) == written
    assert store.keys() == {one.key for one in written}


def test_reading_by_key_returns_only_these_episodes_and_stops_after_the_last_one(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    first = [episode(task) for task in "abc"]
    store.write(first)
    store.write([episode("d")])
    assert list(store.read({first[0].key, first[2].key})) == [first[0], first[2]]
    assert list(store.read(set())) == []
    blank(shards(tmp_path)[1], lambda name: False)
    assert list(store.read({first[1].key})) == [first[1]]
    assert store.unreadable_shards() == [], "the damaged shard was not read"


def test_an_empty_or_absent_folder_has_no_episodes(tmp_path: Path) -> None:
    assert TrajectoryStore(tmp_path / "new").keys() == set()
    absent = TrajectoryStore(tmp_path / "absent", read_only=True)
    assert (list(absent.read()), absent.unreadable_shards()) == ([], [])
    assert not (tmp_path / "absent").exists()


def test_writing_nothing_leaves_no_shard(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([])
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_written_twice_keeps_its_first_version(tmp_path: Path) -> None:
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
def test_any_writes_and_compactions_keep_the_first_version_of_each_key_once(
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


def test_keys_read_the_key_columns_and_causes_only(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode()])
    blank(shards(tmp_path)[0], keep=lambda column: column in (*KEY_COLUMNS, CAUSE_COLUMN))
    assert store.keys() == {episode().key}


def blank(path: Path, keep: Callable[[str], bool]) -> None:
    """Overwrite all columns of a Parquet file with zeros, except those to ``keep``."""
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    for column in map(group.column, range(group.num_columns)):
        if not keep(column.path_in_schema):
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)


def test_any_pyarrow_filesystem_is_supported(tmp_path: Path) -> None:
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


def test_an_unknown_storage_is_a_user_error() -> None:
    with pytest.raises(UserError, match="nonsense://bucket/run cannot be opened"):
        TrajectoryStore("nonsense://bucket/run")


def test_a_folder_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be created"):
        TrajectoryStore(tmp_path / "file" / "store")


def failed(task: str, cause: Cause) -> Trajectory:
    """An episode that a failure ended; one of schema 1 or 2 is read like this, with a cause other than the agent."""
    failure = Failure("environment", "TimeoutError", "no answer", cause)
    return replace(episode(task), outcome=Outcome(0.0, False, StopReason.ERROR, failure))


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.AGENT])
def test_an_episode_that_is_owed_counts_as_missing_and_a_completed_version_wins(tmp_path: Path, cause: Cause) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([episode("a"), failed("b", cause)])
    store.write([failed("c", cause)])
    assert store.keys() == {episode("a").key}
    assert list(store.read()) == [episode("a")]
    assert list(store.read({failed("b", cause).key})) == []
    assert [summary.identity.task for summary in store.summaries()] == ["a"]
    assert [(owed.identity.task, owed.outcome.failure) for owed in store.owed()] == [
        (task, failed(task, cause).outcome.failure) for task in "bc"
    ]
    store.write([episode("b")])
    assert list(store.read()) == [episode("a"), episode("b")]
    assert [owed.identity.task for owed in store.owed()] == ["c"]
    store.compact()
    assert list(store.read()) == [episode("a"), episode("b")]
    assert len(shards(tmp_path)) == 1


def test_a_failure_that_the_agent_caused_is_stored_like_any_result(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write([failed("a", Cause.AGENT)])
    store.write([episode("a")])
    store.compact()
    assert list(store.read()) == [failed("a", Cause.AGENT)]
    assert list(store.owed()) == []


def test_the_scoring_of_an_episode_that_failed_is_owed_although_the_episode_had_an_end(tmp_path: Path) -> None:
    store, failure = TrajectoryStore(tmp_path), Failure("engine", "EngineUnavailable", "no answer", Cause.ENGINE)
    store.write([replace(episode("a"), outcome=replace(episode("a").outcome, failure=failure))])
    assert store.keys() == set()


def test_a_read_only_store_with_owed_episodes_stays_as_it_is(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([episode("a"), failed("b", Cause.ENGINE)])
    before = [path.read_bytes() for path in shards(tmp_path)]
    store = TrajectoryStore(tmp_path, read_only=True)
    assert (len(list(store.read())), len(list(store.owed()))) == (1, 1)
    assert [path.read_bytes() for path in shards(tmp_path)] == before
