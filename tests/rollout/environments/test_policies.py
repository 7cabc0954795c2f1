"""Each embedded world has an expert that solves its held-out tasks and a random player that does not, found by name.

As a scripted engine both write in the style of the agent that they play.
"""

from __future__ import annotations

from typing import get_args

import pytest

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig
from rollout.environment import Environment, Task
from rollout.environments.plugins import find_plugin, make_task_source
from rollout.environments.policies import make_policy, policy_names
from rollout.episode.config import AgentConfig
from rollout.factory import make_builder, make_engine, make_environment
from rollout.prompts.react import ReActStyle
from rollout.prompts.styles import StyleName, new_style
from rollout.scripted_policy import TextPolicy
from rollout.trajectory import Author, Kind, Trajectory
from tests.rollout.rolling_out import roll_out_all

STYLES = [name for name in get_args(StyleName) if name != "cot"]
"""Those of agents that act turn by turn."""
WORLDS = sorted(name.removesuffix("-expert") for name in policy_names() if name.endswith("-expert"))
TASKS = 20
STEPS = 40


def wins(world: str, player: str) -> int:
    """How many of the first held-out tasks the player of that name solves."""
    config = find_plugin(world).config_model()()
    environment, won = make_environment(config), 0
    for seed, task in enumerate(make_task_source(config).tasks("valid_unseen", TASKS)):
        won += solves(make_policy(f"{world}-{player}", seed), environment, task)
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


@pytest.fixture(params=STYLES)
def agent(request: pytest.FixtureRequest) -> AgentConfig:
    """In each style; skipped for code where it cannot be run."""
    settings = {"max_steps": 50, "max_tokens": 10**5, "sampling": Sampling(max_tokens=1000)}
    if request.param == "codeact":
        return request.getfixturevalue("code_agent").model_copy(update=settings)
    return AgentConfig(style=request.param, **settings)


async def played(world: str, player: str, agent: AgentConfig) -> list[Trajectory]:
    """Two held-out tasks, as a worker joins engine, prompts and environment."""
    config = find_plugin(world).config_model()()
    scripted = ScriptedConfig(tokenizer="builtin:household-tokenizer", policy=f"{world}-{player}", max_model_len=10**5)
    engine, builder = await make_engine(scripted, agent), make_builder(agent, config, scripted)
    tasks = make_task_source(config).tasks("valid_unseen", 2)
    return await roll_out_all(tasks, lambda: make_environment(config, agent), engine, builder, agent)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("player", ["expert", "random"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_policy_for_any_world_plays_as_the_one_of_the_world_it_is_in(
    world: str, player: str, name: StyleName
) -> None:
    config = find_plugin(world).config_model()()
    environment, (task,) = make_environment(config), make_task_source(config).tasks("train", 1)
    reset = environment.reset(task)
    text = reset.observation + new_style(name, "").task(reset.instruction)
    assert make_policy(player, 3, name).respond(text) == make_policy(f"{world}-{player}", 3, name).respond(text)
    environment.close()


def test_a_policy_for_any_world_says_when_it_is_in_none() -> None:
    with pytest.raises(ValueError, match="no task of an environment with an expert: 'Water the plants"):
        make_policy("expert", 0).respond("Water the plants.")


@pytest.mark.parametrize("world", WORLDS)
async def test_an_expert_wins_in_the_style_of_its_agent(world: str, agent: AgentConfig) -> None:
    written = {Kind.ACT, Kind.FORMAT} | ({Kind.REASON} if agent.style != "act" else set())
    for made in await played(world, "expert", agent):
        assert made.outcome.success, made.text
        assert made.policy.prompt_style == agent.style
        for turn in range(1, made.counts.steps + 1):
            segments = [s for s in made.segments if s.turn == turn and s.author is Author.MODEL]
            assert {segment.kind for segment in segments} == written
            assert sum(segment.kind is Kind.ACT for segment in segments) == 1


@pytest.mark.parametrize("world", WORLDS)
async def test_a_random_player_is_understood_in_the_style_of_its_agent(world: str, agent: AgentConfig) -> None:
    for made in await played(world, "random", agent):
        acts = [s for s in made.segments if s.kind is Kind.ACT]
        assert made.outcome.failure is None
        assert len(acts) == made.counts.steps > 0


@pytest.mark.parametrize("world", WORLDS)
def test_a_policy_does_the_same_in_every_style(world: str) -> None:
    config = find_plugin(world).config_model()()
    environment, style = make_environment(config), ReActStyle("")
    for name in ("act", "stateact"):
        plain, worded = make_policy(f"{world}-expert", 5, "react"), make_policy(f"{world}-expert", 5, name)
        reset = environment.reset(make_task_source(config).tasks("train", 1)[0])
        text, done = reset.observation + style.task(reset.instruction), False
        while not done:
            action = style.parse(plain.respond(text)).action or ""
            assert worded.respond(text).lower().rpartition("action: ")[2] == action.lower()
            step = environment.step(action)
            text, done = step.observation, step.done
    environment.close()
