"""The math environment replies to every text, checks one answer, and runs code only in its runner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.environment import Environment, Step, Task
from rollout.environments.math.config import MathConfig
from rollout.environments.math.datasets import DataSet
from rollout.environments.math.environment import MAX_OBSERVATION, CodeRunner, MathEnvironment
from rollout.environments.math.generator import CODE_FAMILIES, WORD_FAMILIES, MathTasks
from rollout.environments.math.grading.verify import shared_checker
from rollout.environments.math.plugin import MATH

HALF = Task("t", "math", "train", "", {"problem": "What is a half?", "answer": r"\frac{1}{2}"})


class Echo:
    """A runner that returns the code."""

    def __init__(self) -> None:
        self.closed = 0

    def run(self, code: str) -> str:
        return code

    def close(self) -> None:
        self.closed += 1


def started(runner: CodeRunner | None = None) -> MathEnvironment:
    environment = MathEnvironment(MathConfig(), runner, shared_checker(0.5))
    reset = environment.reset(HALF)
    assert (reset.observation, reset.instruction) == ("What is a half?", "answer the question")
    return environment


def test_the_plugin_creates_an_environment() -> None:
    environment = MATH.make_environment(MathConfig())
    assert isinstance(environment, Environment)
    assert {"short", "full"} <= set(MATH.load_instructions())
    assert environment.admissible_actions() is None


def test_a_right_answer_ends_the_episode_with_reward_one() -> None:
    environment = started()
    assert environment.step("calculate[1 / 2]") == Step("0.5")
    assert environment.step("finish[0.5]") == Step(
        "The answer is right.", reward=1.0, done=True, success=True, answer="0.5"
    )
    after = environment.step("finish[0.5]")
    assert (after.reward, after.done, after.success, after.valid) == (0.0, True, True, False)


def test_a_wrong_answer_ends_the_episode_and_reset_starts_a_new_one() -> None:
    environment = started()
    assert environment.step("finish[2]") == Step("The answer is wrong.", done=True, answer="2")
    assert environment.step("finish[1/2]").success is False
    environment.reset(HALF)
    assert environment.step("finish[1/2]").success is True


@pytest.mark.parametrize(
    "action", ["Finish[1/2]", " finish [ 1/2 ] ", r"finish[\boxed{\frac{1}{2}}]", "finish[x = 50%]"]
)
def test_actions_and_answers_are_parsed_leniently(action: str) -> None:
    assert started().step(action).success


@pytest.mark.parametrize(
    "action", ["", "finish", "finish 1/2", "calculate(1)", "look", "finish[1/2", "please finish[1]"]
)
def test_other_texts_get_a_list_of_the_actions(action: str) -> None:
    assert started().step(action) == Step(
        "There is no such action. Use calculate[expression], python[code] or finish[answer].", valid=False
    )


def test_an_invalid_calculation_is_an_error_message() -> None:
    assert started().step("calculate[1 / 0]") == Step("Error: division by zero.", valid=False)


def test_without_a_runner_python_is_invalid() -> None:
    assert started().step("python[print(1)]") == Step(
        "There is no Python here. Use calculate[expression] or finish[answer].", valid=False
    )


def test_code_reaches_the_runner_unchanged_and_its_output_is_truncated() -> None:
    environment = started(Echo())
    assert environment.step("python[x = [1,\n 2]]") == Step("x = [1,\n 2]")
    assert environment.step("python[]") == Step("(no output)")
    assert len(environment.step(f"python[{'x' * 10_000}]").observation) == MAX_OBSERVATION


def test_reset_and_close_end_the_episode_of_the_runner() -> None:
    runner = Echo()
    environment = started(runner)
    environment.reset(HALF)
    environment.close()
    assert runner.closed == 3


def test_a_step_before_the_first_reset_raises() -> None:
    with pytest.raises(RuntimeError, match="reset must come before"):
        MathEnvironment(MathConfig()).step("finish[1]")


@pytest.mark.parametrize(
    "payload", [{}, {"problem": "x"}, {"problem": " ", "answer": "1"}, {"problem": "x", "answer": 3}]
)
def test_a_damaged_task_is_refused(payload: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match="has no problem or no answer"):
        MathEnvironment(MathConfig()).reset(Task("t", "math", "", "", payload))


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.builds(
            "{}[{}]".format,
            st.sampled_from(["calculate", "python", "finish"]),
            st.one_of(st.text(max_size=40), st.text(r"0123456789+-*/^().,%$\{}frac", max_size=30)),
        ),
    )
)
def test_every_text_gets_a_reply(action: str) -> None:
    step = started(Echo()).step(action)
    assert step.observation
    assert step.reward == float(step.success) <= step.done


def test_settings_that_are_invalid_or_would_have_no_effect_are_refused() -> None:
    for settings_, sentence in (
        ({"data_dir": "x"}, "name a source"),
        ({"source": "gsm8k"}, "needs data_dir"),
        ({"source": "gsm8k", "data_dir": "x", "families": ["wages"]}, "leave families out"),
        ({"families": []}, "families is empty"),
        ({"sandbox": {"time_limit_s": 1}}, "set python: sandbox"),
        ({"check_cpu_limit_s": 0}, "greater than 0"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            MathConfig.model_validate(settings_)


def test_default_families_are_solvable_with_the_tools() -> None:
    assert MathConfig().generated_families() == WORD_FAMILIES
    assert MathConfig(python="sandbox").generated_families() == (*WORD_FAMILIES, *CODE_FAMILIES)
    assert MATH.make_tasks(MathConfig(families=("primes",))) == MathTasks(("primes",))
    assert MATH.make_tasks(MathConfig(source="aime", data_dir="x")) == DataSet("aime", "x")
