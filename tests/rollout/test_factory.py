"""Configs become environments, engines, styles and prompt builders."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from rollout.engine import Sampling
from rollout.engines.config import ENGINES
from rollout.engines.scripted import ScriptedConfig
from rollout.environments.conformance.check import check_settings
from rollout.environments.household.environment import HouseholdConfig
from rollout.environments.plugins import make_task_source, working_plugins
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.factory import make_builder, make_engine, make_environment, make_style
from rollout.trajectory import Kind, StopReason
from tests.rollout.rolling_out import roll_out_all

HOUSE = HouseholdConfig(size="small")


class Unknown(BaseModel):
    type: str = "moon"


def test_an_agent_that_writes_code_gets_an_environment_that_runs_it() -> None:
    task = make_task_source(HOUSE).tasks("train", 1)[0]
    environment = make_environment(HOUSE, AgentConfig(style="codeact"))
    environment.reset(task)
    assert "You are carrying" not in environment.step("inventory").observation
    assert "You are not carrying anything." in environment.step('print(act("inventory"))').observation
    environment.close()


def test_all_built_in_environments_and_engines_have_descriptions() -> None:
    assert {"household", "alfworld"} <= set(working_plugins())
    assert all(plugin.description for plugin in working_plugins().values())
    assert {"vllm", "openai", "transformers", "scripted"} <= set(ENGINES.names())
    assert all(settings.__doc__ for settings in ENGINES.load_each().values())


def test_every_built_in_environment_has_both_instructions_and_settings_of_its_name() -> None:
    for name, plugin in working_plugins().items():
        assert {"short", "full"} <= set(plugin.load_instructions())
        assert plugin.config_model().model_fields["type"].default == name


def test_every_part_of_every_built_in_environment_can_be_imported() -> None:
    for plugin in working_plugins().values():
        assert check_settings(plugin) == []


def test_an_unknown_environment_is_refused_with_the_known_names() -> None:
    with pytest.raises(UserError, match="no environment 'moon'; choose one of alfworld, hotpotqa, household"):
        make_environment(Unknown())


def test_instructions_and_examples_come_from_the_environment() -> None:
    style = make_style(AgentConfig(instructions="full", examples=1), HOUSE)
    assert style.instructions.startswith("Interact with a household to solve a task.\n")
    assert len(style.examples) == 1


def test_unknown_instructions_and_too_many_examples_are_refused() -> None:
    with pytest.raises(UserError, match="'long' do not exist .* choose one of short, full"):
        make_style(AgentConfig(instructions="long"), HOUSE)
    with pytest.raises(UserError, match="agent.examples is 99"):
        make_style(AgentConfig(examples=99), HOUSE)


def test_an_engine_that_names_no_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match="names no tokenizer"):
        make_builder(AgentConfig(), HOUSE, Unknown())


async def test_an_expert_solves_generated_houses_from_settings_alone(model: str) -> None:
    """Tasks, environment, engine, builder and runner together, as in a worker."""
    agent = AgentConfig(max_steps=40, max_tokens=10**5, sampling=Sampling(max_tokens=300))
    scripted = ScriptedConfig(tokenizer=model, policy="household-expert", max_model_len=10**6)
    tasks = make_task_source(HOUSE).tasks("train", 12, seed=3)
    engine, builder = await make_engine(scripted), make_builder(agent, HOUSE, scripted)
    made = await roll_out_all(tasks, lambda: make_environment(HOUSE), engine, builder, agent, concurrency=4)
    assert not [t.outcome.failure for t in made if t.outcome.stop_reason is StopReason.ERROR]
    assert sum(t.outcome.success for t in made) >= 9
    solved = next(t for t in made if t.outcome.success)
    assert {Kind.SYSTEM, Kind.TASK, Kind.OBSERVATION, Kind.REASON, Kind.ACT} <= {s.kind for s in solved.segments}
