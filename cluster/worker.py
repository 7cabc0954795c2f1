"""The rollout worker: one engine, many episodes at once as coroutines. A plain class; Ray wraps it where it is called.

requests ──▶ run_episodes ──▶ trajectories ──▶ written to the store ──▶ summaries out
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pydantic import BaseModel

from cluster.concurrency import together
from cluster.mixture import EnvironmentConfig
from cluster.shelf import Shelf
from rollout.agent import AgentConfig
from rollout.engine import Engine
from rollout.environment import Task
from rollout.registry import code_sandbox, make_builder, make_engine, make_environment
from rollout.retrieval.service import Search, Service
from rollout.runner import Job, job, run_episodes
from rollout.sandbox.tiers import choose_tier, tier_sentence
from rollout.store import TrajectoryStore
from rollout.threads import in_thread
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
    """What a worker needs to start.

    ``environments`` are those that its tasks name; ``retrieval`` is what its agents can search, if anything.
    """

    engine: BaseModel
    environments: tuple[EnvironmentConfig, ...]
    agent: AgentConfig
    retrieval: Service | None = None


class World:
    """What a worker keeps for each environment: ready ones, and the prompt builders of its agents."""

    def __init__(self, environment: BaseModel, config: WorkerConfig, search: Search | None) -> None:
        self.shelf = Shelf(lambda: make_environment(environment, config.agent, search))
        self.builder = cache(
            lambda agent: make_builder(agent, environment, config.engine, with_search=search is not None)
        )


class RolloutWorker:
    """Plays episodes with its own engine and stores them before it tells of them."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.engine: Engine | None = None
        self.worlds: dict[str, World] = {}

    async def start(self) -> tuple[str, ...]:
        """Bring the engine up; returns what a user should know of this worker, in sentences.

        Raises:
            UserError: a model or setting cannot work, or no sandbox can be had for the code that agents write.
        """
        config = self.config
        sandboxes = {code_sandbox(environment, config.agent) for environment in config.environments} - {None}
        notes = [tier_sentence(await in_thread(choose_tier, sandbox)) for sandbox in sandboxes]
        self.engine = await make_engine(config.engine, config.agent)
        search = config.retrieval.connect() if config.retrieval else None
        self.worlds = {world.type: World(world, config, search) for world in config.environments}
        return tuple(notes)

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
        for world in self.worlds.values():
            world.shelf.clear()
        if self.engine is not None:
            await self.engine.close()

    def _started(self) -> Engine:
        assert self.engine is not None, "start comes before the first request"
        return self.engine

    async def _play(self, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]) -> None:
        """Consumes requests, produces whole trajectories."""
        by_world: dict[str, list[EpisodeRequest]] = {}
        for request in requests:
            by_world.setdefault(request.task.environment, []).append(request)
        await together(*(self._play_in(self.worlds[name], played, finished) for name, played in by_world.items()))

    async def _play_in(
        self, world: World, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]
    ) -> None:
        agent = requests[0].stage.agent
        jobs = [request.job for request in requests]
        episodes = run_episodes(
            jobs, world.shelf.take, self._started(), world.builder(agent), agent, concurrency=len(jobs)
        )
        async for trajectory in episodes:
            finished.put_nowait(trajectory)


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
