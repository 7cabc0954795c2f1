"""Rolls out an episode in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable

from rollout.concurrency import close_in_thread
from rollout.engine import Engine
from rollout.environment import Environment, Task
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.environment_calls import create_environment
from rollout.episode.episode import run_episode
from rollout.episode.guidance import Guide
from rollout.errors import Boundary, EpisodeError, boundary
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Identity, Trajectory, failed_episode


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
    fresh: Callable[[], Environment] | None = None,
) -> Trajectory:
    """Roll out one episode once and close its environment.

    Args:
        make_environment: makes the environment, in a thread. Its exceptions are failures of the environment.
        fresh: makes the environment in which the actions are replayed if the agent may have caused a failure; if None,
            ``make_environment`` does.

    Raises:
        UserError: the environment does not support ``config.acting``.
        EngineDied: the engine must be started again.
        Exception: a bug in this package.
    """
    policy = policy or EpisodePolicy()
    try:
        with boundary(Boundary.ENVIRONMENT):
            environment = await create_environment(make_environment, policy.create_timeout_s)
    except EpisodeError as error:
        return failed_episode(identity, error.failure)
    try:
        return await run_episode(
            task,
            environment,
            engine,
            builder,
            config,
            identity,
            guide=guide,
            policy=policy,
            fresh=fresh or make_environment,
        )
    finally:
        await close_in_thread(environment, policy.close_timeout_s)
