"""Demonstrations of the math environment for every prompt style."""

from __future__ import annotations

from typing import get_args

import pytest

from rollout.environment import Task
from rollout.environments.math.calculator import calculate
from rollout.environments.math.config import MathConfig
from rollout.environments.math.demonstrations import StateKeeper, as_code, math_demonstrations
from rollout.environments.math.environment import MathEnvironment
from rollout.environments.math.plugin import MATH
from rollout.episode.config import AgentConfig
from rollout.factory import make_environment
from rollout.prompts.example import Demonstration
from rollout.prompts.styles import StyleName, new_style
from tests.rollout.environments.math.episodes import TrustingRunner


def task(demonstration: Demonstration) -> Task:
    """A task with the problem of a demonstration and its answer."""
    answer = demonstration.turns[-1].action.removeprefix("finish[").removesuffix("]")
    return Task("t", "math", "", "", {"problem": demonstration.observation, "answer": answer})


def test_demonstrations_solve_their_problems_and_can_be_shown_in_every_style() -> None:
    environment = MathEnvironment(MathConfig(python="sandbox"), TrustingRunner())
    assert len(MATH.load_examples()) == 2
    for demonstration in MATH.load_examples():
        environment.reset(task(demonstration))
        steps = [environment.step(turn.action) for turn in demonstration.turns]
        assert [step.observation.strip() for step in steps] == [turn.observation for turn in demonstration.turns]
        assert steps[-1].success
        for name in get_args(StyleName):
            new_style(name, "", MATH.load_examples(), shown=2, tools=MATH.load_tools(), answer=MATH.finish).example(
                demonstration
            )


def test_code_calculates_and_its_answer_is_checked(code_agent: AgentConfig) -> None:
    environment, style = make_environment(MathConfig(), code_agent), new_style("codeact", "")
    for demonstration in math_demonstrations():
        environment.reset(task(demonstration))
        steps = [environment.step(turn.code or "") for turn in demonstration.turns]
        shown = [style.turn(turn)[1] for turn in demonstration.turns]
        assert [step.observation for step in steps][:-1] == shown[:-1]
        assert steps[-1].success
    environment.close()


def test_the_state_contains_the_question_and_the_results_so_far() -> None:
    word_problem, _ = math_demonstrations()
    assert word_problem.observation.endswith(". How many nuts does Dan have now?")
    assert [dict(turn.state or ()) for turn in word_problem.turns] == [
        {"goal": "How many nuts does Dan have now?", "results": results} for results in ("", "11", "11, 13")
    ]


def test_only_numbers_are_results() -> None:
    keep = StateKeeper()
    keep("What is 2 + 2?\nYour task is to: answer the question.")
    for observation in (
        "Error: division by zero.",
        "(no output)",
        "1\n2",
        "-0.5\n",
        "1e+20",
        "There is no such action.",
    ):
        state = keep(observation)
    assert dict(state)["results"] == "-0.5, 1e+20"


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("calculate[26 - 5 * 3]", "print(26 - 5 * 3)"),
        ("calculate[36 / 4]", 'print(f"{36 / 4:.10g}")'),
        ("python[x = [1, 2]]", "x = [1, 2]"),
        ("finish[13]", 'final_answer("13")'),
    ],
)
def test_actions_can_be_written_as_code(action: str, code: str) -> None:
    assert as_code(action) == code


@pytest.mark.parametrize(
    "expression", ["26 - 5 * 3", "36 / 4", "120 - 120 * 10 / 100", "7 / 2", "1 / 3", "9999999 / 1"]
)
def test_code_prints_what_the_calculator_shows(expression: str) -> None:
    assert TrustingRunner().run(as_code(f"calculate[{expression}]")) == f"{calculate(expression)}\n"


def test_instructions_for_code_list_only_functions_that_code_can_call() -> None:
    instructions = {
        name: new_style(name, MATH.load_instructions()["full"], tools=MATH.load_tools()).instructions
        for name in ("react", "codeact")
    }
    assert instructions["react"].startswith("Solve a maths problem.\nIn each turn write a thought and one action")
    assert "calculate[expression]" in instructions["react"]
    assert instructions["codeact"].startswith("Solve a maths problem.\nYou work in turns, and act by running Python.")
    assert instructions["codeact"].endswith("give it to final_answer(...).")
