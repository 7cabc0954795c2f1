"""The central record, its Arrow schema and its store. The record is exported here."""

from __future__ import annotations

from rollout.errors import Failure
from rollout.trajectory.record import (
    SCHEMA_VERSION,
    Author,
    Counts,
    Identity,
    Key,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    Times,
    TopK,
    Trajectory,
    float32s,
)

__all__ = [
    "SCHEMA_VERSION",
    "Author",
    "Counts",
    "Failure",
    "Identity",
    "Key",
    "Kind",
    "Outcome",
    "Policy",
    "Segment",
    "StopReason",
    "Times",
    "TopK",
    "Trajectory",
    "float32s",
]
