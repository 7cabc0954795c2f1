"""Each embedded world has an expert that solves its held-out tasks and a random player that does not, found by name."""

from __future__ import annotations

import pytest

from rollout.environment import Environment, Task
from rollout.policy import TextPolicy, text_policies
from rollout.prompts.react import ReActStyle
from rollout.registry import environments, make_environment, make_task_source

WORLDS = sorted(name.removesuffix("-expert") for name in text_policies() if name.endswith("-expert"))
TASKS = 20
STEPS = 40


def wins(world: str, player: str) -> int:
    """How many of the first held-out tasks the player of that name solves."""
    config = environments()[world].Config()
    environment, won = make_environment(config), 0
    for seed, task in enumerate(make_task_source(config).tasks("valid_unseen", TASKS)):
        won += solves(text_policies()[f"{world}-{player}"](seed), environment, task)
    environment.close()
    return won


def solves(policy: TextPolicy, environment: Environment, task: Task) -> bool:
    style = ReActStyle("")
    reset = environment.reset(task)
    text = reset.observation + style.task(reset.instruction)
    for _ in range(STEPS):
        step = environment.step(style.parse(policy.respond(text)).action or "")
        if step.done:
            return step.success
        text = step.observation
    return False


@pytest.mark.parametrize("world", WORLDS)
def test_the_expert_solves_nearly_all_held_out_tasks(world: str) -> None:
    assert wins(world, "expert") >= TASKS - 1


@pytest.mark.parametrize("world", WORLDS)
def test_the_random_player_solves_hardly_any(world: str) -> None:
    assert wins(world, "random") <= TASKS // 5
