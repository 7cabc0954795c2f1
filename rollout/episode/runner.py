"""Rolls out an episode in a new environment, and retries it if the environment hangs."""

from __future__ import annotations

from collections.abc import Callable

from rollout.concurrency import close_in_thread
from rollout.engine import Engine
from rollout.environment import Environment, Task
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.episode import run_episode
from rollout.episode.guidance import Guide
from rollout.errors import Boundary
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Identity, Trajectory


async def roll_out(
    task: Task,
    identity: Identity,
    make_environment: Callable[[], Environment],
    engine: Engine,
    builder: PromptBuilder,
    config: AgentConfig,
    *,
    guide: Guide | None = None,
    policy: EpisodePolicy | None = None,
) -> Trajectory:
    """Roll out one episode and close its environment.

    If the environment did not answer in time, the episode is rolled out again in another environment, under the same
    key, up to ``policy.max_retries`` times; only the last record is returned.

    Raises:
        Exception: a bug in this package, or an exception of ``make_environment``.
    """
    policy = policy or EpisodePolicy()
    num_retries = 0
    while True:
        environment = make_environment()
        try:
            trajectory = await run_episode(
                task, environment, engine, builder, config, identity, guide=guide, policy=policy
            )
        finally:
            await close_in_thread(environment, policy.close_timeout_s)
        if num_retries == policy.max_retries or not _environment_hung(trajectory):
            return trajectory
        num_retries += 1


def _environment_hung(trajectory: Trajectory) -> bool:
    failure = trajectory.outcome.failure
    return failure is not None and (failure.boundary, failure.type) == (Boundary.ENVIRONMENT.value, "TimeoutError")
