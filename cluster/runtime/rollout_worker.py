"""The rollout worker: one engine, many episodes at once as coroutines. A plain class; Ray wraps it where it is called.

requests ──▶ run_episodes ──▶ trajectories ──▶ written to the store ──▶ summaries out
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pydantic import BaseModel

from cluster.config.environments import EnvironmentConfig
from cluster.run.episodes import EpisodeRequest, Stage
from cluster.runtime.guidance import BankRequest, make_bank, make_guide
from rollout.concurrency import in_thread, run_all
from rollout.engine import Engine
from rollout.environments.plugins import code_sandbox
from rollout.environments.wrappers.pooled import EnvironmentPool
from rollout.episode.config import AgentConfig
from rollout.episode.runner import run_episodes
from rollout.episode.scoring import require_distributions, scored
from rollout.factory import make_builder, make_engine, make_environment, require_playable, tokenizer_of
from rollout.tools.retrieval.service import Search, Service
from rollout.tools.sandbox.tiers import choose_tier, tier_sentence
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to start.

    Attributes:
        environments: those that its tasks name.
        retrieval: what its agents can search, if anything.
        distributions: entries of the distributions that are to be learned from: beside what its model writes, and over
            finished episodes. 0 needs none.
    """

    engine: BaseModel
    environments: tuple[EnvironmentConfig, ...]
    agent: AgentConfig
    retrieval: Service | None = None
    distributions: tuple[int, int] = (0, 0)


class World:
    """What a worker keeps for each environment: ready ones, and the prompt builders of its agents."""

    def __init__(self, environment: BaseModel, config: WorkerConfig, search: Search | None) -> None:
        self.pool = EnvironmentPool(lambda: make_environment(environment, config.agent, search))
        self.builder = cache(
            lambda agent: make_builder(agent, environment, config.engine, with_search=search is not None)
        )


class RolloutWorker:
    """Plays or scores episodes with its own engine and stores them before it tells of them."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.engine: Engine | None = None
        self.worlds: dict[str, World] = {}
        self.guide = cache(lambda stage: make_guide(stage, self._started(), config.engine))

    async def start(self) -> tuple[str, ...]:
        """Bring the engine up; returns what a user should know of this worker, in sentences.

        Raises:
            UserError: a model or setting cannot work, agents cannot play in an environment, no sandbox can be had for
                the code that they write, or there are no distributions where they are to be learned from.
        """
        config = self.config
        sandboxes = {code_sandbox(environment, config.agent) for environment in config.environments} - {None}
        notes = [tier_sentence(await in_thread(choose_tier, sandbox)) for sandbox in sandboxes]
        for environment in config.environments:
            await in_thread(_require_playable, environment, config)
        self.engine = await make_engine(config.engine, config.agent)
        if any(config.distributions):
            written, scores = config.distributions
            token_ids = tokenizer_of(config.engine).encode("Hello")
            await require_distributions(self.engine, token_ids, written=written, scored=scores)
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

    async def make_bank(self, request: BankRequest) -> Mapping[str, int]:
        """Make a bank of hints of failed episodes; returns what to report of it."""
        return await make_bank(request, self._started(), self.config.engine)

    async def load_weights(self, folder: str, version: int) -> None:
        """Take a checkpoint's weights between two episodes."""
        await self._started().load_weights(folder, version)

    async def stop(self) -> None:
        """End the engine and the environments; a worker that never started has nothing to end."""
        for world in self.worlds.values():
            world.pool.clear()
        if self.engine is not None:
            await self.engine.close()

    def _started(self) -> Engine:
        assert self.engine is not None, "start comes before the first request"
        return self.engine

    async def _play(self, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]) -> None:
        """Consumes requests, produces whole trajectories."""
        stage = requests[0].stage
        if stage.scored is not None:
            await self._score(stage, requests, finished)
            return
        by_world: dict[str, list[EpisodeRequest]] = {}
        for request in requests:
            by_world.setdefault(request.task.environment, []).append(request)
        await run_all(*(self._play_in(self.worlds[name], played, finished) for name, played in by_world.items()))

    async def _play_in(
        self, world: World, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]
    ) -> None:
        stage = requests[0].stage
        agent, guide = stage.agent, await in_thread(self.guide, stage)
        jobs = [request.job for request in requests]
        episodes = run_episodes(
            jobs, world.pool.take, self._started(), world.builder(agent), agent, concurrency=len(jobs), guide=guide
        )
        async for trajectory in episodes:
            finished.put_nowait(trajectory)

    async def _score(
        self, stage: Stage, requests: Sequence[EpisodeRequest], finished: asyncio.Queue[Trajectory | None]
    ) -> None:
        """Consumes finished episodes, produces them with the distributions of this worker's engine."""
        assert stage.scored is not None
        store, wanted = TrajectoryStore(stage.scored), {request.key for request in requests}
        guide, played = await in_thread(self.guide, stage), await in_thread(lambda: list(store.read(wanted)))

        async def one(trajectory: Trajectory) -> None:
            builder = self.worlds[trajectory.identity.environment].builder(stage.agent)
            finished.put_nowait(await scored(trajectory, self._started(), builder, stage.top_k, guide))

        await run_all(*map(one, played))


def _require_playable(environment: BaseModel, config: WorkerConfig) -> None:
    with_search = config.retrieval is not None
    require_playable(make_environment(environment), environment, config.agent, with_search=with_search)


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
