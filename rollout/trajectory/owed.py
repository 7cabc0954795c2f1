"""Episodes that are owed: a failure ended them that is not a result. They are never stored, but rolled out again."""

from __future__ import annotations

from rollout.errors import Failure
from rollout.trajectory.record import Identity, Outcome, Policy, StopReason, Trajectory


def is_owed(trajectory: Trajectory) -> bool:
    """Whether an episode, or the scoring of one, ended by a failure that the agent did not cause.

    `rollout.trajectory.migration.failure_cause` gives records of schemas 1 and 2 their cause.
    """
    failure = trajectory.outcome.failure
    return failure is not None and not failure.is_result


def failed_episode(identity: Identity, failure: Failure) -> Trajectory:
    """The record of an episode that failed before its first turn."""
    return Trajectory(identity, Policy("", 0, ""), Outcome(0.0, False, StopReason.ERROR, failure), ())
