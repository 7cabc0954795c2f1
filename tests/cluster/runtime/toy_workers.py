"""Workers that play nothing: they answer in turns of the event loop, so that every order of events can be made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, EpisodeSpec, RolloutUpdate
from cluster.run.steps.rollout import RolloutSpec
from cluster.runtime.rollout_pool import Pool
from cluster.runtime.worker import WorkerDied
from rollout.environment import Task
from rollout.episode.config import AgentConfig
from rollout.trajectory import Identity, Outcome, Policy, StopReason, Trajectory

COLLECT = RolloutSpec("run", "teacher", 0, "trajectories/teacher", AgentConfig())
EVALUATE = RolloutSpec("run", "teacher", 0, "evaluation/teacher", AgentConfig())


def requests(count: int, spec: EpisodeSpec = COLLECT) -> list[EpisodeRequest]:
    return [EpisodeRequest(spec, Task(f"task/{i}", "household", "train", ""), 0) for i in range(count)]


def summary(request: EpisodeRequest, version: int) -> Trajectory:
    identity = Identity("run", request.spec.role, 0, request.task.id, request.attempt, "household", "train")
    return Trajectory(identity, Policy("m", version, "react"), Outcome(1.0, True, StopReason.SUCCESS), ())


class ToyWorker:
    """Answers each request after ``turns`` turns of the event loop; dies after ``lifetime`` answers."""

    def __init__(self, turns: int = 1, lifetime: int | None = None, error: type[Exception] = WorkerDied) -> None:
        self.turns = turns
        self.left = lifetime
        self.error = error
        self.version = 0
        self.holds = 0
        self.most = 0
        self.stores: list[set[str]] = []
        self.played = 0
        self.stopped = False

    async def start(self) -> tuple[str, ...]:
        await asyncio.sleep(0)
        return ()

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        self.holds += len(requests)
        self.most = max(self.most, self.holds)
        self.stores.append({request.spec.store for request in requests})
        for request in requests:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise self.error("the process is gone")
            self.holds -= 1
            self.played += 1
            yield RolloutUpdate(summaries=(summary(request, self.version),))

    async def ping(self) -> None:
        """It is there."""

    async def load_weights(self, folder: str, version: int) -> None:
        self.version = version

    async def stop(self) -> None:
        self.stopped = True


def pool_of(
    *workers: ToyWorker,
    concurrency: int = 4,
    then: Callable[[], ToyWorker] = ToyWorker,
    restarts: WorkerPolicy | None = None,
) -> Pool:
    """A pool whose first workers are these; replacements are made by ``then``."""
    waiting = list(workers)
    policy = (restarts or WorkerPolicy()).model_copy(update={"restart_wait_s": 0.0})
    return Pool("teacher", lambda: waiting.pop(0) if waiting else then(), len(workers), concurrency, policy)


async def play(pool: Pool, wanted: Sequence[EpisodeRequest]) -> list[Trajectory]:
    await pool.start()
    return await rolled_out(pool, wanted)


async def rolled_out(pool: Pool, wanted: Sequence[EpisodeRequest], priority: int = 0) -> list[Trajectory]:
    return [summary async for summary in pool.rollout(wanted, priority)]


def tasks(summaries: Sequence[Trajectory]) -> list[str]:
    return sorted(summary.identity.task for summary in summaries)
