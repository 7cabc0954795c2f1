"""The maths environment answers every text, judges one answer, and runs code only through its runner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.environment import Environment, Step, Task
from rollout.environments.math.config import MathConfig
from rollout.environments.math.data_sets import DataSet
from rollout.environments.math.environment import MAX_OBSERVATION, CodeRunner, MathEnvironment
from rollout.environments.math.generator import CODE_FAMILIES, WORD_FAMILIES, MathTasks
from rollout.environments.math.grading.verify import shared_checker
from rollout.environments.math.plugin import MATH

HALF = Task("t", "math", "train", "", {"problem": "What is a half?", "answer": r"\frac{1}{2}"})


class Echo:
    """Answers code with itself."""

    def __init__(self) -> None:
        self.closed = 0

    def run(self, code: str) -> str:
        return code

    def close(self) -> None:
        self.closed += 1


def playing(runner: CodeRunner | None = None) -> MathEnvironment:
    environment = MathEnvironment(MathConfig(), runner, shared_checker(0.5))
    reset = environment.reset(HALF)
    assert (reset.observation, reset.instruction) == ("What is a half?", "answer the question")
    return environment


def test_it_is_an_environment_of_its_kind() -> None:
    environment = MATH.make_environment(MathConfig())
    assert isinstance(environment, Environment)
    assert {"short", "full"} <= set(MATH.load_instructions())
    assert environment.admissible_actions() is None


def test_a_right_answer_ends_the_episode_with_reward_one() -> None:
    environment = playing()
    assert environment.step("calculate[1 / 2]") == Step("0.5")
    assert environment.step("finish[0.5]") == Step(
        "The answer is right.", reward=1.0, done=True, success=True, answer="0.5"
    )
    after = environment.step("finish[0.5]")
    assert (after.reward, after.done, after.success, after.valid) == (0.0, True, True, False)


def test_a_wrong_answer_ends_it_too_and_the_next_episode_begins_afresh() -> None:
    environment = playing()
    assert environment.step("finish[2]") == Step("The answer is wrong.", done=True, answer="2")
    assert environment.step("finish[1/2]").success is False
    environment.reset(HALF)
    assert environment.step("finish[1/2]").success is True


@pytest.mark.parametrize(
    "action", ["Finish[1/2]", " finish [ 1/2 ] ", r"finish[\boxed{\frac{1}{2}}]", "finish[x = 50%]"]
)
def test_actions_and_answers_are_read_with_goodwill(action: str) -> None:
    assert playing().step(action).success


@pytest.mark.parametrize(
    "action", ["", "finish", "finish 1/2", "calculate(1)", "look", "finish[1/2", "please finish[1]"]
)
def test_other_texts_are_told_the_actions(action: str) -> None:
    assert playing().step(action) == Step(
        "There is no such action. Use calculate[expression], python[code] or finish[answer].", valid=False
    )


def test_what_cannot_be_calculated_is_an_error_in_words() -> None:
    assert playing().step("calculate[1 / 0]") == Step("Error: division by zero.", valid=False)


def test_without_a_runner_python_is_told_to_be_absent() -> None:
    assert playing().step("python[print(1)]") == Step(
        "There is no Python here. Use calculate[expression] or finish[answer].", valid=False
    )


def test_code_goes_to_the_runner_whole_and_what_it_prints_is_shown_in_bounds() -> None:
    environment = playing(Echo())
    assert environment.step("python[x = [1,\n 2]]") == Step("x = [1,\n 2]")
    assert environment.step("python[]") == Step("(no output)")
    assert len(environment.step(f"python[{'x' * 10_000}]").observation) == MAX_OBSERVATION


def test_each_episode_and_the_end_close_what_the_runner_holds() -> None:
    runner = Echo()
    environment = playing(runner)
    environment.reset(HALF)
    environment.close()
    assert runner.closed == 3


def test_steps_before_a_reset_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="reset must come before"):
        MathEnvironment(MathConfig()).step("finish[1]")


@pytest.mark.parametrize(
    "payload", [{}, {"problem": "x"}, {"problem": " ", "answer": "1"}, {"problem": "x", "answer": 3}]
)
def test_a_damaged_task_is_refused_in_words(payload: dict[str, str | int]) -> None:
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
def test_any_text_is_answered(action: str) -> None:
    step = playing(Echo()).step(action)
    assert step.observation
    assert step.reward == float(step.success) <= step.done


def test_the_configuration_refuses_what_would_be_ignored_or_cannot_work() -> None:
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


def test_the_default_draws_problems_that_its_tools_can_solve() -> None:
    assert MathConfig().generated_families() == WORD_FAMILIES
    assert MathConfig(python="sandbox").generated_families() == (*WORD_FAMILIES, *CODE_FAMILIES)
    assert MATH.make_tasks(MathConfig(families=("primes",))) == MathTasks(("primes",))
    assert MATH.make_tasks(MathConfig(source="aime", data_dir="x")) == DataSet("aime", "x")
