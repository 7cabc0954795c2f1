"""Episodes of many tasks in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rollout.engine import Engine
from rollout.environment import Environment, Task
from rollout.episode.config import AgentConfig
from rollout.episode.guidance import Guide
from rollout.episode.runner import roll_out
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Identity, Trajectory


def identity_of(task: Task, role: str = "teacher") -> Identity:
    """The identity of a first attempt at a task."""
    return Identity("run", role, 0, task.id, 0, task.environment, task.split, task.task_type)


async def roll_out_all(
    tasks: Sequence[Task],
    make_environment: Callable[[], Environment],
    engine: Engine,
    builder: PromptBuilder,
    config: AgentConfig,
    *,
    role: str = "teacher",
    concurrency: int = 1,
    guide: Guide | None = None,
) -> list[Trajectory]:
    """Roll out all tasks, ``concurrency`` at once; episodes are in the order of the tasks."""
    room = asyncio.Semaphore(concurrency)

    async def one(task: Task) -> Trajectory:
        async with room:
            return await roll_out(task, identity_of(task, role), make_environment, engine, builder, config, guide=guide)

    return list(await asyncio.gather(*map(one, tasks)))
