"""Shards of trajectory schemas 1 and 2 in the columns of the current schema.

Both had a struct column for each part of the record, with the names of the present columns, and scores as a map; schema
1 had no scores. What they did not record gets the default of the record: no retries, no digest of the chat template, no
engine, weight version, truncation or origin of a segment.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from rollout.errors import Boundary, Cause
from rollout.trajectory.arrow import trajectory_schema
from rollout.trajectory.record import SCHEMA_VERSION

_PARTS = {
    "identity": ("run", "role", "round", "task", "attempt", "environment", "split", "task_type", "dialect"),
    "policy": ("model", "weight_version", "prompt_style", "sampling_json", "method_json"),
    "outcome": ("reward", "success", "stop_reason", "scores"),
    "counts": ("steps", "prompt_tokens", "output_tokens", "reason_tokens", "invalid_actions"),
    "times": ("started_unix_s", "total_s", "engine_s", "environment_s"),
}
_SOURCES = {
    **{name: f"{part}.{name}" for part, names in _PARTS.items() for name in names},
    **{f"failure_{name}": f"outcome.failure.{name}" for name in ("boundary", "type", "message")},
    "failure_cause": "outcome.failure",
    "segments": "segments",
}
"""Old column that each column is made of; a dot precedes a field of a struct."""
_DEFAULTS = {"version": SCHEMA_VERSION, "template_digest": "", "retries": 0}

_INFRASTRUCTURE = re.compile("Time|Connect|Network|Protocol|HTTP|OutOfMemory|Actor|Died|Dead|Broken|Sandbox|Channel")
_SYSTEM_ERRORS = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, OSError | MemoryError | EOFError)
}
_SETUP = {"UserError", "ImportError", "ModuleNotFoundError"}


def failure_cause(boundary: str, type_: str) -> Cause:
    """Cause of a failure of schema 1 or 2, which recorded only a component and the name of an exception.

    Every cause but ``agent`` means that the episode is owed: it is in no rate, and the same command retries it. Nothing
    recorded then says that the agent's input caused a failure, so only the parser's are results. In this order:

    ========================================================  ==================
    ``UserError``, ``ImportError``, ``ModuleNotFoundError``   ``setup``
    boundary ``parser``                                       ``agent`` (a result)
    boundary ``engine``                                       ``engine``
    boundary ``environment`` or ``tool``, and the type is a   ``infrastructure``
    time limit, a connection, ``OSError`` or one of its
    kinds, memory, a dead process or the sandbox
    boundary ``environment`` or ``tool``, any other type      ``environment`` or ``tool``
    any other boundary                                        ``infrastructure``
    ========================================================  ==================
    """
    if type_ in _SETUP:
        return Cause.SETUP
    if boundary == Boundary.PARSER:
        return Cause.AGENT
    if boundary == Boundary.ENGINE:
        return Cause.ENGINE
    if type_ in _SYSTEM_ERRORS or _INFRASTRUCTURE.search(type_):
        return Cause.INFRASTRUCTURE
    return Cause(boundary) if boundary in (Boundary.ENVIRONMENT, Boundary.TOOL) else Cause.INFRASTRUCTURE


def old_columns(names: Iterable[str]) -> list[str]:
    """Paths of the old columns that `upgrade` needs for ``names``; a shard may lack some."""
    # The version gives a table its number of rows where all other columns are new.
    return ["version", *(_SOURCES[name] for name in names if name in _SOURCES)]


def upgrade(table: pa.Table, version: int, names: Iterable[str]) -> pa.Table:
    """The columns ``names`` of the current schema, made of a table of schema ``version``.

    Types are as in the old table. Fields of segments whose default is None are left out.

    Raises:
        KeyError: the old table lacks a column or a field of a segment.
    """
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return pa.table({name: _column(table, version, name) for name in names})


def _column(table: pa.Table, version: int, name: str) -> pa.ChunkedArray | pa.Array:
    if name == "failure_cause":
        return _causes(table[_SOURCES["failure_boundary"]], table[_SOURCES["failure_type"]])
    if name in _DEFAULTS or (name == "scores" and version == 1):
        return pa.array([_DEFAULTS.get(name, [])] * table.num_rows, trajectory_schema().field(name).type)
    column = table[_SOURCES[name]]
    if name != "segments":
        return column
    return pa.chunked_array(map(_segments, column.chunks)) if column.num_chunks else _segments(column.combine_chunks())


def _causes(boundaries: pa.ChunkedArray, types: pa.ChunkedArray) -> pa.Array:
    pairs = zip(boundaries.to_pylist(), types.to_pylist(), strict=True)
    causes = [None if boundary is None else failure_cause(boundary, type_).value for boundary, type_ in pairs]
    return pa.array(causes, pa.string())


def _segments(column: pa.ListArray) -> pa.ListArray:
    old, count = column.values, len(column.values)
    teacher = old.field("teacher")
    members = dict(zip((field.name for field in teacher.type), teacher.flatten(), strict=True))
    unknown = pa.repeat("", count)
    fields = {
        **{name: old.field(name) for name in ("kind", "author", "turn", "text", "token_ids", "logprobs")},
        **{f"teacher_{name}": members[name] for name in ("token_ids", "logprobs", "tail_mass")},
        "teacher_model": pc.if_else(teacher.is_valid(), "", None),
        "engine": unknown,
        "truncated": unknown,
        "dropped_bytes": pa.repeat(pa.scalar(0, pa.int64()), count),
    }
    return pa.ListArray.from_arrays(column.offsets, pa.StructArray.from_arrays(list(fields.values()), list(fields)))
