"""Compaction of a store of episodes, which a backend runs outside of the driver."""

from __future__ import annotations

from rollout.trajectory.store import TrajectoryStore


class CompactionError(Exception):
    """A store could not be compacted for reasons outside of it. Nothing is lost."""


def compact_store(store: str) -> None:
    """Compact a store of episodes."""
    TrajectoryStore(store).compact()
