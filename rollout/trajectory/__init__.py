"""The trajectory record, its Arrow schema and its store. This package exports the record."""

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
