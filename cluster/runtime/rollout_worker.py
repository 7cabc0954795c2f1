"""The rollout worker: one engine, many episodes at once as coroutines. A plain class; Ray wraps it where it is called.

requests ──▶ spec.run(request) ──▶ trajectories ──▶ written to the store ──▶ summaries out
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache

from pydantic import BaseModel

from cluster.config.environments import EnvironmentConfig
from cluster.run.episodes import EpisodeRequest, EpisodeSpec, WorkerJob
from cluster.run.guidance import make_guide
from rollout.concurrency import run_all, run_in_thread
from rollout.engine import Engine, RemoteEngine
from rollout.engines.prove_weights import load_and_prove
from rollout.environment import Environment
from rollout.environments.plugins import code_sandbox
from rollout.environments.wrappers.pooled import EnvironmentPool
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.guidance import Guide
from rollout.episode.scoring import check_distributions
from rollout.errors import EngineDied, EngineUnavailable, UserError
from rollout.factory import make_builder, make_engine, make_environment, require_playable, tokenizer_of
from rollout.prompts.builder import PromptBuilder
from rollout.tools.retrieval.service import Search, Service
from rollout.tools.sandbox.tiers import choose_tier, tier_sentence
from rollout.trajectory import Key, Trajectory, is_owed
from rollout.trajectory.store import TrajectoryStore

_SELF_TEST_PROMPT = "You are in the middle of a room. You see a cabinet 1."


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to start.

    Attributes:
        environments: those that its tasks name.
        retrieval: what its agents can search, if anything.
        distributions: entries of the distributions that are trained on: beside what its model generates, and over
            finished episodes. 0 needs none.
        episode_policy: limits of an episode's environment.
    """

    engine: BaseModel
    environments: tuple[EnvironmentConfig, ...]
    agent: AgentConfig
    retrieval: Service | None = None
    distributions: tuple[int, int] = (0, 0)
    episode_policy: EpisodePolicy = field(default_factory=EpisodePolicy)


class WorkerEnvironment:
    """What a worker keeps for each environment: a pool of ready ones, and the prompt builders of its agents."""

    def __init__(self, environment: BaseModel, config: WorkerConfig, search: Search | None) -> None:
        self.pool = EnvironmentPool(lambda: make_environment(environment, config.agent, search))
        self.builder = cache(
            lambda agent: make_builder(agent, environment, config.engine, with_search=search is not None)
        )


class RolloutWorker:
    """Produces episodes with its own engine and stores each one before it reports it."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.engine: Engine | None = None
        self.environments: dict[str, WorkerEnvironment] = {}
        self.guides: dict[EpisodeSpec, asyncio.Future[Guide | None]] = {}

    async def start(self) -> tuple[str, ...]:
        """Start the engine; returns sentences that the user should read.

        Raises:
            UserError: a model or setting cannot work, agents cannot act in an environment, no sandbox is available for
                their code, or the engine gives no distributions although they are trained on.
        """
        config = self.config
        sandboxes = {code_sandbox(environment, config.agent) for environment in config.environments} - {None}
        notes = [tier_sentence(await run_in_thread(choose_tier, sandbox)) for sandbox in sandboxes]
        for environment in config.environments:
            await run_in_thread(_require_playable, environment, config)
        self.engine = await make_engine(config.engine, config.agent)
        notes += await _check_engine(self.engine, config)
        search = config.retrieval.connect() if config.retrieval else None
        self.environments = {each.type: WorkerEnvironment(each, config, search) for each in config.environments}
        return tuple(notes)

    async def ping(self) -> None:
        """Answer, which a blocked event loop cannot."""

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        """Produce the episodes of one spec, all at once; yields summaries (``segments=()``) of stored episodes.

        An episode that is owed is not stored; its summary has the failure. Raises `EngineDied` if the engine must be
        started again.

        Episodes that finish while a shard is written share the next shard, so busy workers write few files. May be
        called several times at once.
        """
        finished: asyncio.Queue[Trajectory | None] = asyncio.Queue()
        context = WorkContext(self, requests)

        async def produce(request: EpisodeRequest) -> None:
            made = await request.spec.run(request, context)
            finished.put_nowait(replace(made, outcome=replace(made.outcome, retries=request.retries)))

        producing = asyncio.ensure_future(run_all(*map(produce, requests)))
        producing.add_done_callback(lambda _: finished.put_nowait(None))
        store = TrajectoryStore(requests[0].spec.store)
        try:
            while batch := await next_batch(finished):
                await asyncio.to_thread(store.write, [trajectory for trajectory in batch if not is_owed(trajectory)])
                yield [replace(trajectory, segments=()) for trajectory in batch]
            await producing
        finally:
            producing.cancel()

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        """Run a job that is not an episode; returns what to report of it."""
        return await job.run(WorkContext(self))

    async def load_weights(self, folder: str, version: int) -> None:
        """Take a checkpoint's weights between two episodes, and prove it; see `load_and_prove` for what is raised."""
        await load_and_prove(self.started_engine(), folder, version)

    async def stop(self) -> None:
        """Stop the engine and the environments; a worker that never started has nothing to stop."""
        for environment in self.environments.values():
            environment.pool.clear()
        if self.engine is not None:
            await self.engine.close()

    def started_engine(self) -> Engine:
        """The engine; `start` must have returned."""
        assert self.engine is not None, "start comes before the first request"
        return self.engine


class WorkContext:
    """What the requests of one call use of their worker (`cluster.run.episodes.WorkerContext`)."""

    def __init__(self, worker: RolloutWorker, requests: Sequence[EpisodeRequest] = ()) -> None:
        self.worker = worker
        self.engine: Engine = worker.started_engine()
        self.engine_config = worker.config.engine
        self.episode_policy = worker.config.episode_policy
        self.requests = requests
        self.stored: dict[str, asyncio.Future[dict[Key, Trajectory]]] = {}

    def environment(self, name: str) -> Environment:
        return self.worker.environments[name].pool.take()

    def fresh_environment(self, name: str) -> Environment:
        return self.worker.environments[name].pool.make()

    def builder(self, environment: str, agent: AgentConfig) -> PromptBuilder:
        return self.worker.environments[environment].builder(agent)

    async def guide(self, spec: EpisodeSpec) -> Guide | None:
        """Made once for a spec, in a thread, since it reads files."""
        guides = self.worker.guides
        if spec not in guides:
            guides[spec] = asyncio.ensure_future(run_in_thread(make_guide, spec, self.engine, self.engine_config))
        return await asyncio.shield(guides[spec])

    async def read(self, store: str, key: Key) -> Trajectory:
        """Reads the episodes of all requests of this call at once, at the first one."""
        if store not in self.stored:
            self.stored[store] = asyncio.ensure_future(run_in_thread(self._read_all, store))
        return (await asyncio.shield(self.stored[store]))[key]

    def _read_all(self, store: str) -> dict[Key, Trajectory]:
        wanted = {request.key for request in self.requests}
        episodes = TrajectoryStore(store, read_only=True).read(wanted)
        return {trajectory.key: trajectory for trajectory in episodes}


async def _check_engine(engine: Engine, config: WorkerConfig) -> list[str]:
    """Check an engine before the first episode; returns sentences that the user should read."""
    try:
        probed = await engine.probe(config.agent.sampling) if isinstance(engine, RemoteEngine) else None
        if not any(config.distributions):
            return [*probed.notes()] if probed else []
        written, scored = config.distributions
        token_ids = await run_in_thread(tokenizer_of(config.engine).encode, _SELF_TEST_PROMPT)
        test = await check_distributions(engine, token_ids, written=written, scored=scored)
    except EngineDied:
        raise
    except EngineUnavailable as error:
        raise UserError(f"the engine cannot be used: {error}") from error
    return [*(probed.notes() if probed else ()), str(test)]


def _require_playable(environment: BaseModel, config: WorkerConfig) -> None:
    with closing(make_environment(environment)) as made:
        require_playable(made, environment, config.agent, with_search=config.retrieval is not None)


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
