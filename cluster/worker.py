"""The rollout worker: one engine, many episodes at once as coroutines. A plain class; Ray wraps it where it is called.

requests ──▶ run_episodes ──▶ trajectories ──▶ written to the store ──▶ summaries out
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from cluster.shelf import Shelf
from rollout.agent import AgentConfig
from rollout.engine import Engine
from rollout.environment import Task
from rollout.prompts.builder import PromptBuilder
from rollout.registry import make_builder, make_engine, make_environment
from rollout.runner import Job, job, run_episodes
from rollout.store import TrajectoryStore
from rollout.trajectory import Key, Trajectory


@dataclass(frozen=True, slots=True)
class Stage:
    """What all episodes of one role in one round share. ``store`` is where they are kept."""

    run: str
    role: str
    round: int
    store: str
    agent: AgentConfig


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """One episode to play; small enough to be sent anywhere."""

    stage: Stage
    task: Task
    attempt: int

    @property
    def key(self) -> Key:
        return Key(self.stage.role, self.stage.round, self.task.id, self.attempt)

    @property
    def job(self) -> Job:
        stage = self.stage
        return job(self.task, run=stage.run, role=stage.role, round_number=stage.round, attempt=self.attempt)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to start."""

    engine: BaseModel
    environment: BaseModel
    agent: AgentConfig


class RolloutWorker:
    """Plays episodes with its own engine and stores them before it tells of them."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.engine: Engine | None = None
        self.builders: dict[AgentConfig, PromptBuilder] = {}
        self.shelf = Shelf(lambda: make_environment(config.environment, config.agent))

    async def start(self) -> None:
        """Bring the engine up. Raises `UserError` for a model or setting that cannot work."""
        self.engine = await make_engine(self.config.engine)

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        """Play requests of one stage, all at once; yields summaries (``segments=()``) of episodes that are stored.

        What ends while a shard is being written shares the next one, so busy workers write few files. May be called
        several times at once.
        """
        finished: asyncio.Queue[Trajectory | None] = asyncio.Queue()
        playing = asyncio.ensure_future(self._play(requests, finished))
        playing.add_done_callback(lambda _: finished.put_nowait(None))
        store = TrajectoryStore(requests[0].stage.store)
        try:
            while batch := await next_batch(finished):
                await asyncio.to_thread(store.write, batch)
                yield [replace(trajectory, segments=()) for trajectory in batch]
            await playing
        finally:
            playing.cancel()

    async def load_weights(self, folder: str, version: int) -> None:
        """Take a checkpoint's weights between two episodes."""
        await self._started().load_weights(folder, version)

    async def stop(self) -> None:
        """End the engine and the environments; a worker that never started has nothing to end."""
        self.shelf.clear()
        if self.engine is not None:
            await self.engine.close()

    def _started(self) -> Engine:
        assert self.engine is not None, "start comes before the first request"
        return self.engine

    async def _play(self, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]) -> None:
        """Consumes requests, produces whole trajectories."""
        agent = requests[0].stage.agent
        jobs = [request.job for request in requests]
        episodes = run_episodes(
            jobs, self.shelf.take, self._started(), self._builder(agent), agent, concurrency=len(jobs)
        )
        async for trajectory in episodes:
            finished.put_nowait(trajectory)

    def _builder(self, agent: AgentConfig) -> PromptBuilder:
        """The prompt builder of an agent's settings, made once."""
        if agent not in self.builders:
            self.builders[agent] = make_builder(agent, self.config.environment, self.config.engine)
        return self.builders[agent]


async def next_batch(finished: asyncio.Queue[Trajectory | None]) -> list[Trajectory]:
    """All that is there, at least one; empty when nothing more will come."""
    batch = []
    trajectory = await finished.get()
    while trajectory is not None:
        batch.append(trajectory)
        if finished.empty():
            return batch
        trajectory = finished.get_nowait()
    finished.put_nowait(None)
    return batch
