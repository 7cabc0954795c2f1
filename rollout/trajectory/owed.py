"""Episodes that are owed: a failure ended them that is not a result. They are never stored, but rolled out again."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rollout.errors import Cause, Failure
from rollout.trajectory.record import Identity, Outcome, Policy, StopReason, Trajectory

CAUSE_COLUMN = "failure_cause"
"""The column that `completed_rows` and `owed_rows` need."""


def is_owed(trajectory: Trajectory) -> bool:
    """Whether an episode, or the scoring of one, ended by a failure that the agent did not cause.

    `rollout.trajectory.migration.failure_cause` gives records of schemas 1 and 2 their cause.
    """
    failure = trajectory.outcome.failure
    return failure is not None and not failure.is_result


def completed_rows(table: pa.Table) -> pa.Table:
    """Select the episodes that are not owed."""
    has_no_failure = table[CAUSE_COLUMN].null_count == len(table)
    return table if has_no_failure else table.filter(pc.invert(_owed(table)))


def owed_rows(table: pa.Table) -> pa.Table:
    """Select the episodes that are owed."""
    return table.filter(_owed(table))


def _owed(table: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(table[CAUSE_COLUMN], Cause.AGENT.value), False)


def failed_episode(identity: Identity, failure: Failure) -> Trajectory:
    """The record of an episode that failed before its first turn."""
    return Trajectory(identity, Policy("", 0, ""), Outcome(0.0, False, StopReason.ERROR, failure), ())
