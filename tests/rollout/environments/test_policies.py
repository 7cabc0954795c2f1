"""Every built-in environment has an expert that solves held-out tasks and a random policy that does not.

A scripted engine writes both in the style of the agent.
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
"""Styles of agents that act turn by turn."""
ENVIRONMENTS = sorted(name.removesuffix("-expert") for name in policy_names() if name.endswith("-expert"))
TASKS = 20
STEPS = 40


def num_solved(environment_name: str, kind: str) -> int:
    """Number of held-out tasks that a policy solves, of the first `TASKS`."""
    config = find_plugin(environment_name).config_model()()
    environment, won = make_environment(config), 0
    for seed, task in enumerate(make_task_source(config).tasks("valid_unseen", TASKS)):
        won += solves(make_policy(f"{environment_name}-{kind}", seed), environment, task)
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


@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
def test_the_expert_solves_nearly_all_held_out_tasks(environment_name: str) -> None:
    assert num_solved(environment_name, "expert") >= TASKS - 1


@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
def test_the_random_policy_solves_hardly_any_task(environment_name: str) -> None:
    assert num_solved(environment_name, "random") <= TASKS // 5


@pytest.fixture(params=STYLES)
def agent(request: pytest.FixtureRequest) -> AgentConfig:
    """An agent of each style; code is skipped if no sandbox works."""
    settings = {"max_steps": 50, "max_tokens": 10**5, "sampling": Sampling(max_tokens=1000)}
    if request.param == "codeact":
        return request.getfixturevalue("code_agent").model_copy(update=settings)
    return AgentConfig(style=request.param, **settings)


async def rolled_out(environment_name: str, kind: str, agent: AgentConfig) -> list[Trajectory]:
    """Trajectories of two held-out tasks, with the engine, prompts and environment of a worker."""
    config = find_plugin(environment_name).config_model()()
    scripted = ScriptedConfig(
        tokenizer="builtin:household-tokenizer", policy=f"{environment_name}-{kind}", max_model_len=10**5
    )
    engine, builder = await make_engine(scripted, agent), make_builder(agent, config, scripted)
    tasks = make_task_source(config).tasks("valid_unseen", 2)
    return await roll_out_all(tasks, lambda: make_environment(config, agent), engine, builder, agent)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("kind", ["expert", "random"])
@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
def test_a_policy_for_any_environment_acts_like_the_one_of_its_environment(
    environment_name: str, kind: str, name: StyleName
) -> None:
    config = find_plugin(environment_name).config_model()()
    environment, (task,) = make_environment(config), make_task_source(config).tasks("train", 1)
    reset = environment.reset(task)
    text = reset.observation + new_style(name, "").task(reset.instruction)
    assert make_policy(kind, 3, name).respond(text) == make_policy(f"{environment_name}-{kind}", 3, name).respond(text)
    environment.close()


def test_a_policy_for_any_environment_refuses_an_unknown_task() -> None:
    with pytest.raises(ValueError, match="no environment with an expert has this task: 'Water the plants"):
        make_policy("expert", 0).respond("Water the plants.")


@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
async def test_an_expert_solves_tasks_in_the_style_of_its_agent(environment_name: str, agent: AgentConfig) -> None:
    written = {Kind.ACT, Kind.FORMAT} | ({Kind.REASON} if agent.style != "act" else set())
    for made in await rolled_out(environment_name, "expert", agent):
        assert made.outcome.success, made.text
        assert made.policy.prompt_style == agent.style
        for turn in range(1, made.counts.steps + 1):
            segments = [s for s in made.segments if s.turn == turn and s.author is Author.MODEL]
            assert {segment.kind for segment in segments} == written
            assert sum(segment.kind is Kind.ACT for segment in segments) == 1


@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
async def test_turns_of_a_random_policy_parse_in_the_style_of_its_agent(
    environment_name: str, agent: AgentConfig
) -> None:
    for made in await rolled_out(environment_name, "random", agent):
        acts = [s for s in made.segments if s.kind is Kind.ACT]
        assert made.outcome.failure is None
        assert len(acts) == made.counts.steps > 0


@pytest.mark.parametrize("environment_name", ENVIRONMENTS)
def test_a_policy_takes_the_same_actions_in_every_style(environment_name: str) -> None:
    config = find_plugin(environment_name).config_model()()
    environment, style = make_environment(config), ReActStyle("")
    for name in ("act", "stateact"):
        plain, worded = (
            make_policy(f"{environment_name}-expert", 5, "react"),
            make_policy(f"{environment_name}-expert", 5, name),
        )
        reset = environment.reset(make_task_source(config).tasks("train", 1)[0])
        text, done = reset.observation + style.task(reset.instruction), False
        while not done:
            action = style.parse(plain.respond(text)).action or ""
            assert worded.respond(text).lower().rpartition("action: ")[2] == action.lower()
            step = environment.step(action)
            text, done = step.observation, step.done
    environment.close()
