"""Demonstrations of the HotpotQA environment for every prompt style."""

from __future__ import annotations

from typing import get_args

from rollout.environments.hotpotqa.demonstrations import EXAMPLE_TASKS, TOOLS, hotpotqa_demonstrations
from rollout.environments.hotpotqa.environment import HotpotQAConfig, HotpotQAEnvironment
from rollout.environments.hotpotqa.generator import HotpotQATasks
from rollout.environments.hotpotqa.plugin import HOTPOTQA
from rollout.episode.config import AgentConfig
from rollout.factory import make_environment
from rollout.prompts.styles import StyleName, new_style


def test_demonstrations_solve_their_tasks_and_can_be_shown_in_every_style() -> None:
    environment, tasks = HotpotQAEnvironment(HotpotQAConfig()), HotpotQATasks().tasks("train", 21)
    for number, demonstration in zip(EXAMPLE_TASKS, HOTPOTQA.load_examples(), strict=True):
        assert environment.reset(tasks[number]).observation == demonstration.observation
        steps = [environment.step(turn.action) for turn in demonstration.turns]
        assert [step.observation for step in steps] == [turn.observation for turn in demonstration.turns]
        assert steps[-1].success
        for name in get_args(StyleName):
            new_style(
                name, "", HOTPOTQA.load_examples(), shown=1, tools=HOTPOTQA.load_tools(), answer=HOTPOTQA.finish
            ).example(demonstration)


def test_code_searches_and_its_answer_is_scored() -> None:
    chain = hotpotqa_demonstrations()[0]
    environment = make_environment(HotpotQAConfig(), AgentConfig(style="codeact"))
    environment.reset(HotpotQATasks().tasks("train", 21)[EXAMPLE_TASKS[0]])
    steps = [environment.step(turn.code or "") for turn in chain.turns]
    environment.close()
    assert chain.turns[0].observation in steps[0].observation
    assert steps[-1].success


def test_the_state_contains_opened_pages_and_found_facts() -> None:
    chain = hotpotqa_demonstrations()[0]
    states = [dict(turn.state or ()) for turn in chain.turns]
    assert (states[0]["pages opened"], states[0]["found"]) == ("", "")
    answer = chain.turns[-1].action.removeprefix("finish[").removesuffix("]")
    assert states[-1]["found"].endswith(f": {answer}")
    assert len(states[-1]["pages opened"].split(", ")) == 2


def test_every_action_but_the_answer_is_a_function() -> None:
    assert {tool.action for tool in TOOLS} == {"search[{}]", "lookup[{}]"}
