"""Many episodes at once: coroutines that share one engine, no barrier between them.

    jobs ──▶ slot 1..concurrency, each with an environment of its own ──▶ queue ──▶ trajectories, as they finish

A slot takes the next job the moment its last one ends. It keeps its environment between episodes and replaces it after
an error or a time limit, since it may then be in any state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from rollout.concurrency import close_in_thread
from rollout.engine import Engine
from rollout.environment import Environment, Task
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.episode.guidance import Guide
from rollout.errors import Boundary
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Identity, StopReason, Trajectory


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play."""

    task: Task
    identity: Identity


def job(task: Task, *, run: str, role: str, round_number: int = 0, attempt: int = 0) -> Job:
    """The job of playing ``task`` in this role."""
    identity = Identity(run, role, round_number, task.id, attempt, task.environment, task.split, task.task_type)
    return Job(task, identity)


async def run_episodes(
    jobs: Iterable[Job],
    make_environment: Callable[[], Environment],
    engine: Engine,
    builder: PromptBuilder,
    config: AgentConfig,
    *,
    concurrency: int,
    guide: Guide | None = None,
) -> AsyncGenerator[Trajectory, None]:
    """Play all jobs, at most ``concurrency`` at once; each trajectory comes as soon as its episode has ended.

    ``jobs`` is drawn from lazily. An episode whose environment did not answer in time is played once more in a new
    environment, under the same key; only the second record comes out. Stop iterating (``aclose``) to cancel the rest.

    Raises:
        Exception: a bug of ours, or what ``make_environment`` raised; all other episodes are then cancelled.
    """
    slots = _Slots(iter(jobs), make_environment, engine, builder, config, guide)
    workers = [asyncio.create_task(slots.work(), name=f"slot-{number}") for number in range(concurrency)]
    finished = asyncio.gather(*workers)
    finished.add_done_callback(lambda _: slots.results.put_nowait(None))
    try:
        while (trajectory := await slots.results.get()) is not None:
            yield trajectory
        await finished
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, finished, return_exceptions=True)


@dataclass(slots=True)
class _Slots:
    jobs: Iterator[Job]
    make_environment: Callable[[], Environment]
    engine: Engine
    builder: PromptBuilder
    config: AgentConfig
    guide: Guide | None
    results: asyncio.Queue[Trajectory | None] = field(default_factory=asyncio.Queue)

    async def work(self) -> None:
        """Play job after job until there are no more."""
        environment: Environment | None = None
        try:
            for job_ in self.jobs:
                for may_repeat in (True, False):
                    environment = environment or self.make_environment()
                    trajectory = await self._play(job_, environment)
                    if trajectory.outcome.stop_reason in (StopReason.ERROR, StopReason.TIME_LIMIT):
                        await close_in_thread(environment)
                        environment = None
                    if not (may_repeat and _environment_hung(trajectory)):
                        break
                self.results.put_nowait(trajectory)
        finally:
            if environment is not None:
                await close_in_thread(environment)

    async def _play(self, job_: Job, environment: Environment) -> Trajectory:
        return await run_episode(
            job_.task, environment, self.engine, self.builder, self.config, job_.identity, guide=self.guide
        )


def _environment_hung(trajectory: Trajectory) -> bool:
    failure = trajectory.outcome.failure
    return failure is not None and (failure.boundary, failure.type) == (Boundary.ENVIRONMENT.value, "TimeoutError")
