"""Shards of trajectory schemas 1 and 2, written out as the versions of Stillhouse wrote them that had these schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rollout.trajectory import Segment, Trajectory


def _struct(**types: pa.DataType) -> pa.StructType:
    return pa.struct([pa.field(name, type_, nullable=False) for name, type_ in types.items()])


def _list(element: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("element", element, nullable=False))


TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()
TOKENS, LOGPROBS = _list(pa.int32()), _list(pa.float32())
IDENTITY = _struct(
    run=TEXT,
    role=TEXT,
    round=INT,
    task=TEXT,
    attempt=INT,
    environment=TEXT,
    split=TEXT,
    task_type=TEXT,
    dialect=TEXT,
)
POLICY = _struct(model=TEXT, weight_version=INT, prompt_style=TEXT, sampling_json=TEXT, method_json=TEXT)
OUTCOME = [
    *_struct(reward=FLOAT, success=pa.bool_(), stop_reason=TEXT),
    pa.field("failure", _struct(boundary=TEXT, type=TEXT, message=TEXT)),
]
SCORES = pa.field("scores", pa.map_(TEXT, pa.field("value", FLOAT, nullable=False)), nullable=False)
SEGMENT = pa.struct(
    [
        *_struct(kind=TEXT, author=TEXT, turn=pa.int32(), text=TEXT, token_ids=TOKENS),
        pa.field("logprobs", LOGPROBS),
        pa.field("teacher", _struct(token_ids=_list(TOKENS), logprobs=_list(LOGPROBS), tail_mass=LOGPROBS)),
    ]
)


def old_schema(version: int) -> pa.Schema:
    columns = _struct(
        version=pa.int32(),
        identity=IDENTITY,
        policy=POLICY,
        outcome=pa.struct(OUTCOME if version == 1 else [*OUTCOME, SCORES]),
        counts=_struct(steps=INT, prompt_tokens=INT, output_tokens=INT, reason_tokens=INT, invalid_actions=INT),
        times=_struct(started_unix_s=FLOAT, total_s=FLOAT, engine_s=FLOAT, environment_s=FLOAT),
        segments=_list(SEGMENT),
    )
    return pa.schema(list(columns), metadata={"stillhouse.trajectory_schema": str(version)})


def old_table(version: int, *trajectories: Trajectory) -> pa.Table:
    """What schema ``version`` records of these episodes."""
    return pa.Table.from_pylist([_row(version, one) for one in trajectories], schema=old_schema(version))


def write_old_shard(path: Path, version: int, *trajectories: Trajectory) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(old_table(version, *trajectories), path, compression="zstd")


def _members(record: Any) -> dict[str, Any] | None:
    return None if record is None else {name: getattr(record, name) for name in record.__match_args__}


def _segment(segment: Segment) -> dict[str, Any]:
    return {**(_members(segment) or {}), "teacher": _members(segment.teacher)}


def _row(version: int, trajectory: Trajectory) -> dict[str, Any]:
    outcome = trajectory.outcome
    return {
        "version": version,
        **{part: _members(getattr(trajectory, part)) for part in ("identity", "policy", "counts", "times")},
        "outcome": {
            **(_members(outcome) or {}),
            "failure": _members(outcome.failure),
            "scores": list(outcome.scores.items()),
        },
        "segments": [_segment(segment) for segment in trajectory.segments],
    }
