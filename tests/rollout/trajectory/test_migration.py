"""Shards of older schemas are read as if they had been written today; what they did not record has its default."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.trajectory import Cause, Failure, Outcome, Segment, StopReason, TopK, Trajectory
from rollout.trajectory.arrow import SUMMARY_COLUMNS, from_table, trajectory_schema
from rollout.trajectory.migration import failure_cause
from rollout.trajectory.shard import parse
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.old_schemas import old_table, write_old_shard
from tests.rollout.trajectory.stores import episode, shards
from tests.rollout.trajectory.test_arrow import TRAJECTORIES

FAILED = Failure("engine", "ConnectionError", "no answer", Cause.ENGINE)


def known(trajectory: Trajectory, version: int) -> Trajectory:
    """An episode without what schema ``version`` does not record."""
    outcome, policy = trajectory.outcome, trajectory.policy
    failure = outcome.failure and replace(
        outcome.failure, cause=failure_cause(outcome.failure.boundary, outcome.failure.type)
    )
    scores = outcome.scores if version > 1 else {}
    return replace(
        trajectory,
        policy=replace(policy, template_digest=""),
        outcome=Outcome(outcome.reward, outcome.success, outcome.stop_reason, failure, scores),
        segments=tuple(
            Segment(one.kind, one.author, one.turn, one.text, one.token_ids, one.logprobs, teacher_of(one))
            for one in trajectory.segments
        ),
        version=3,
    )


def teacher_of(segment: Segment) -> TopK | None:
    return None if segment.teacher is None else replace(segment.teacher, model="")


def read_old(version: int, *written: Trajectory) -> list[Trajectory]:
    stream = pa.BufferOutputStream()
    pq.write_table(old_table(version, *written), stream)
    return [one for table in parse(pa.BufferReader(stream.getvalue()), "x", None) for one in from_table(table)]


@pytest.mark.parametrize("version", [1, 2])
@settings(deadline=None, max_examples=25)
@given(st.lists(TRAJECTORIES, max_size=3))
def test_an_old_shard_is_read_field_by_field(version: int, written: list[Trajectory]) -> None:
    assert read_old(version, *written) == [known(one, version) for one in written]


@pytest.mark.parametrize("version", [1, 2])
def test_never_scored_and_no_log_probabilities_stay_none(version: int) -> None:
    acted = episode().segments[1]
    segments = (
        replace(acted, teacher=None),
        replace(acted, logprobs=None),
        replace(acted, token_ids=(7,), logprobs=(-math.inf,), teacher=TopK(((),), ((),), (1.0,))),
        replace(acted, token_ids=(), logprobs=(), teacher=TopK((), (), ())),
    )
    written = replace(episode(), segments=segments)
    assert read_old(version, written) == [written]


@pytest.mark.parametrize("version", [1, 2])
def test_summaries_keys_and_selected_episodes_of_an_old_store(tmp_path: Path, version: int) -> None:
    scored = Outcome(0.5, False, StopReason.FAILURE, None, {"f1": 0.5} if version > 1 else {})
    failed = Outcome(0.0, False, StopReason.ERROR, FAILED)
    written = [episode("a"), replace(episode("b"), outcome=scored), episode("c")]
    owed = replace(episode("d"), outcome=failed)
    write_old_shard(tmp_path / "0-x.parquet", version, written[0], owed, *written[1:])
    store = TrajectoryStore(tmp_path, read_only=True)
    assert list(store.summaries()) == [replace(one, segments=()) for one in written]
    assert list(store.owed()) == [replace(owed, segments=())]
    assert store.keys() == {one.key for one in written}
    assert list(store.read({written[2].key})) == [written[2]]
    assert [table.schema for table in store.tables()] == [trajectory_schema()]
    assert [table.schema.names for table in store.tables(SUMMARY_COLUMNS)] == [list(SUMMARY_COLUMNS)]
    assert store.unreadable_shards() == []


def test_compaction_merges_shards_of_all_versions_into_one_of_the_current_schema(tmp_path: Path) -> None:
    write_old_shard(tmp_path / "0-x.parquet", 1, episode("a"))
    write_old_shard(tmp_path / "0-y.parquet", 2, episode("b"), episode("a", text="later"))
    store = TrajectoryStore(tmp_path)
    store.write([episode("c"), episode("b", text="later")])
    expected = [episode(task) for task in "abc"]
    assert list(store.read()) == expected
    store.compact()
    [shard] = shards(tmp_path)
    assert pq.read_schema(shard).equals(trajectory_schema(), check_metadata=True)
    assert list(store.read()) == expected


def test_reading_an_old_store_changes_nothing(tmp_path: Path) -> None:
    write_old_shard(tmp_path / "0-x.parquet", 2, episode("a"))
    before = (tmp_path / "0-x.parquet").read_bytes()
    assert list(TrajectoryStore(tmp_path).read()) == [episode("a")]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"0-x.parquet": before}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("column", ["identity", "policy", "outcome", "counts", "times", "segments"])
def test_a_missing_column_of_an_old_schema_is_damage(tmp_path: Path, version: int, column: str) -> None:
    pq.write_table(old_table(version, episode()).drop_columns(column), tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path, read_only=True)
    assert (list(store.read()), store.keys()) == ([], set())
    assert f"its columns are not those of trajectory schema {version}" in store.unreadable_shards()[0].reason


def test_schema_2_without_scores_is_damage_but_schema_1_is_not(tmp_path: Path) -> None:
    without = old_table(1, episode())
    for version in (1, 2):
        metadata = {"stillhouse.trajectory_schema": str(version)}
        (tmp_path / str(version)).mkdir()
        pq.write_table(without.replace_schema_metadata(metadata), tmp_path / str(version) / "0-x.parquet")
    assert list(TrajectoryStore(tmp_path / "1").read()) == [episode()]
    assert list(TrajectoryStore(tmp_path / "2").read()) == []


@pytest.mark.parametrize("version", [1, 2])
def test_added_and_reordered_columns_of_an_old_schema_are_not_damage(tmp_path: Path, version: int) -> None:
    table = old_table(version, episode())
    table = table.select(table.schema.names[::-1]).append_column("note", pa.array(["added"]))
    pq.write_table(table, tmp_path / "0-x.parquet")
    assert list(TrajectoryStore(tmp_path).read()) == [episode()]


OWED = [
    *((where, "UserError", Cause.SETUP) for where in ("engine", "environment", "tool")),
    ("environment", "ModuleNotFoundError", Cause.SETUP),
    *(("engine", type_, Cause.ENGINE) for type_ in ("EngineDeadError", "EndpointError", "TimeoutError", "ValueError")),
    *(
        (where, type_, Cause.INFRASTRUCTURE)
        for where in ("environment", "tool")
        for type_ in (
            *("TimeoutError", "ConnectionError", "ConnectionResetError", "BrokenPipeError", "OSError", "MemoryError"),
            *("EOFError", "ChildProcessError", "BrokenProcessPool", "SandboxError", "ChannelBrokenError"),
            *("ChannelTimeoutError", "ActorDiedError", "ReadTimeout", "ConnectTimeout", "ClientConnectorError"),
            *("OutOfMemoryError", "WorkerDied", "RemoteProtocolError", "HTTPStatusError"),
        )
    ),
    ("environment", "AlfworldError", Cause.ENVIRONMENT),
    ("environment", "KeyError", Cause.ENVIRONMENT),
    ("tool", "ToolError", Cause.TOOL),
    ("a component that is not known", "ValueError", Cause.INFRASTRUCTURE),
]


@pytest.mark.parametrize(("boundary", "type_", "cause"), OWED)
def test_old_failures_outside_the_agent_are_owed(boundary: str, type_: str, cause: Cause) -> None:
    assert failure_cause(boundary, type_) is cause
    assert not Failure(boundary, type_, "", cause).is_result


def test_an_old_failure_of_the_parser_is_a_result() -> None:
    assert Failure("parser", "ValueError", "", failure_cause("parser", "ValueError")).is_result
