"""Code as actions: its output is the observation, and its actions count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.environment import Reset, Step, Task
from rollout.environments.household.demonstrations import household_demonstrations
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment
from rollout.environments.household.generator import HouseholdTasks
from rollout.environments.wrappers.code import CodeActEnvironment
from rollout.prompts.codeact import CodeActStyle, error, observation
from rollout.prompts.tool import Tool
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.tiers import available_tiers

TASK = Task("quiz/1", "quiz", "train", "quiz")


class Quiz:
    """``ask[x]`` answers; ``finish[42]`` wins."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def reset(self, task: Task) -> Reset:
        self.asked = []
        return Reset("A quiz.", "find the number")

    def step(self, action: str) -> Step:
        self.asked.append(action)
        if action == "crash":
            raise OSError("the quiz fell down")
        won = action == "finish[42]"
        return Step(
            f"You said {action}.",
            0.5 + won,
            action.startswith("finish"),
            won,
            action != "hm",
            "plain",
            {"said": float(len(self.asked))},
        )

    def admissible_actions(self) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    tier = next((status.tier for status in available_tiers() if status.works and status.tier is not Tier.RLIMITS), None)
    if tier is None:
        pytest.skip("no isolated sandbox works on this machine")
    with Sandbox(SandboxConfig(packages=(), preload=(), memory_mib=128), tier) as sandbox:
        yield sandbox


@pytest.fixture
def quiz(sandbox: Sandbox) -> Iterator[CodeActEnvironment]:
    ask = Tool("ask", "asks", "question (string)", "string", action="ask[{}]")
    act = Tool("act", "acts", "action (string)", "string")
    environment = CodeActEnvironment(Quiz(), sandbox, (ask, act), finish="finish[{}]")
    environment.reset(TASK)
    yield environment
    environment.close()


def test_code_that_acts_twice_is_one_step(quiz: CodeActEnvironment) -> None:
    step = quiz.step("seen = ask('a')\nprint(seen)\nact('hm')")
    said = observation("You said ask[a].\n", "'You said hm.'")
    assert step == Step(said, 1.0, False, False, False, "plain", {"said": 2.0})


def test_variables_live_until_the_next_task(quiz: CodeActEnvironment) -> None:
    assert quiz.step("x = ask('a')").valid
    assert quiz.step("x").observation == observation("", "'You said ask[a].'")
    quiz.reset(TASK)
    lost = quiz.step("print(1)\nx")
    assert not lost.valid
    assert lost.observation.startswith("Observation:\nExecution logs:\n1\nError:\n")
    assert "NameError" in lost.observation


@pytest.mark.parametrize(("answer", "won"), [(42, True), (41, False)])
def test_final_answer_ends_the_task_and_the_environment_judges_it(
    quiz: CodeActEnvironment, answer: int, won: bool
) -> None:
    step = quiz.step(f"final_answer({answer})")
    assert (step.done, step.success, step.reward) == (True, won, 0.5 + won)


def test_actions_after_the_end_do_nothing(quiz: CodeActEnvironment) -> None:
    step = quiz.step("act('finish[42]')\nact('finish[41]')")
    assert (step.done, step.success, step.reward, step.valid) == (True, True, 1.5, False)
    assert "the task is over" in step.observation


def test_final_answer_ends_the_task_unsolved_in_an_environment_without_answers(sandbox: Sandbox) -> None:
    environment = CodeActEnvironment(Quiz(), sandbox)
    environment.reset(TASK)
    step = environment.step("final_answer(42)")
    environment.close()
    assert (step.done, step.success, step.reward) == (True, False, 0)


def test_a_wrong_argument_is_an_error_of_the_code_and_a_broken_environment_raises(quiz: CodeActEnvironment) -> None:
    assert "ask takes a text" in quiz.step("ask(1)").observation
    with pytest.raises(OSError, match="the quiz fell down"):
        quiz.step("act('crash')")


def test_code_that_cannot_run_is_answered_with_an_error(quiz: CodeActEnvironment) -> None:
    step = quiz.step("1 +")
    assert step.observation.startswith(error("")[:7])
    assert not step.valid


def test_a_demonstration_of_the_household_can_be_replayed_in_code(sandbox: Sandbox) -> None:
    worked = household_demonstrations()[0]
    tasks = HouseholdTasks("small").tasks("train", 3, 7919)
    environment, style = CodeActEnvironment(HouseholdEnvironment(HouseholdConfig()), sandbox), CodeActStyle("")
    reset = environment.reset(tasks[2])
    assert (reset.observation, reset.instruction) == (worked.observation, worked.instruction)
    for turn in worked.turns:
        text, observed = style.turn(turn)
        step = environment.step(style.parse(text).action or "")
        assert step.observation == observed
    environment.close()
    assert (step.done, step.success, step.reward) == (True, True, 1.0)
