"""The trajectory record, its Arrow schema and its store. This package exports the record."""

from __future__ import annotations

from rollout.errors import Cause, Failure
from rollout.trajectory.owed import failed_episode, is_owed
from rollout.trajectory.record import (
    SCHEMA_VERSION,
    Author,
    Counts,
    Identity,
    Key,
    Kind,
    Origin,
    Outcome,
    Policy,
    Relation,
    Segment,
    StopReason,
    Times,
    TopK,
    Trajectory,
    Truncation,
    float32s,
)

__all__ = [
    "SCHEMA_VERSION",
    "Author",
    "Cause",
    "Counts",
    "Failure",
    "Identity",
    "Key",
    "Kind",
    "Origin",
    "Outcome",
    "Policy",
    "Relation",
    "Segment",
    "StopReason",
    "Times",
    "TopK",
    "Trajectory",
    "Truncation",
    "failed_episode",
    "float32s",
    "is_owed",
]
