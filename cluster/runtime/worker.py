"""What a pool needs of a rollout worker, and how a worker ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from cluster.run.episodes import EpisodeRequest, RolloutUpdate, WorkerJob
from rollout.errors import EngineDied, UserError


class WorkerDied(Exception):
    """A worker's process is gone or does not answer. What it had not delivered is requested again."""


DEATHS = (WorkerDied, EngineDied)
"""Errors after which a worker is replaced: without its process or without its engine it can do nothing."""


class PoolError(UserError):
    """A pool cannot go on; the message says why, with the end of the log where there is one."""


class Worker(Protocol):
    """What a pool needs of a worker; `RolloutWorker` is one as it stands. Every method may raise `DEATHS`."""

    async def start(self) -> tuple[str, ...]:
        """Start the engine; returns sentences that the user should read."""

    async def ping(self) -> None:
        """Return at once, unless the process is gone or its event loop is blocked."""

    def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        """Produce and store episodes of one spec. May run several times at once."""

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        """Run a job that is not an episode."""

    async def load_weights(self, folder: str, version: int) -> None:
        """Take new weights in place."""

    async def stop(self) -> None:
        """Free everything."""
