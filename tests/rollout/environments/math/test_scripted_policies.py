"""The expert solves problems from their text alone; the random policy calculates without an aim."""

from __future__ import annotations

import re

import pytest

from rollout.environment import Task
from rollout.environments.generated import SPLITS
from rollout.environments.math.config import MathConfig
from rollout.environments.math.environment import MathEnvironment
from rollout.environments.math.expert_policy import NO_MISTAKES, ErrorRates, MathExpert
from rollout.environments.math.generator import CODE_FAMILIES, WORD_FAMILIES, MathTasks
from rollout.environments.math.random_policy import RandomPolicy
from rollout.environments.math.stories import read_story
from tests.rollout.environments.math.episodes import TrustingRunner, roll_out

ALL = (*WORD_FAMILIES, *CODE_FAMILIES)


@pytest.fixture(scope="module")
def environment() -> MathEnvironment:
    return MathEnvironment(MathConfig(python="sandbox"), TrustingRunner())


@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_solves_every_generated_problem(environment: MathEnvironment, split: str) -> None:
    tasks = MathTasks(ALL).tasks(split, 300, seed=3)
    lost = [task.id for task in tasks if not roll_out(environment, task, MathExpert())[0]]
    assert lost == []


def test_word_problems_need_no_python() -> None:
    environment = MathEnvironment(MathConfig())
    for task in MathTasks().tasks("train", 50):
        won, turns, _ = roll_out(environment, task, MathExpert())
        assert won
        assert not any("python" in action for _, action, _ in turns)


def test_the_expert_uses_only_numbers_it_has_read() -> None:
    environment = MathEnvironment(MathConfig())
    for task in MathTasks().tasks("train", 100, seed=4):
        _, turns, read = roll_out(environment, task, MathExpert())
        for thought, action, observation in turns:
            known = {*re.findall(r"\d+", read), "100", "2"}  # used for percentages and halves
            assert set(re.findall(r"\d+", thought + action)) <= known
            read += "\n" + observation


def test_the_expert_skips_distractors() -> None:
    environment = MathEnvironment(MathConfig())
    task = Task("t", "math", "", "", {"problem": PADDED, "answer": "17"})
    won, turns, _ = roll_out(environment, task, MathExpert(0, NO_MISTAKES))
    assert (won, [action for _, action, _ in turns]) == (True, ["calculate[12 + 5]", "finish[17]"])


PADDED = "Ann has 12 pens. Ben is 40 years old. Ann finds 5 more pens. How many pens does Ann have now?"


def test_an_expert_states_and_corrects_its_errors() -> None:
    environment, clumsy = MathEnvironment(MathConfig()), ErrorRates(random_step=0.3, wrong_number=0.4)
    corrected, idle = 0, 0
    for seed, task in enumerate(MathTasks().tasks("train", 60, seed=6)):
        won, turns, _ = roll_out(environment, task, MathExpert(seed, clumsy), limit=30)
        assert won
        _, plain, _ = roll_out(environment, task, MathExpert(seed, NO_MISTAKES))
        assert {action for _, action, _ in plain} <= {action for _, action, _ in turns}
        corrected += sum(thought.startswith("That was wrong. ") for thought, _, _ in turns)
        idle += sum(thought.startswith("I ") or "I start with" in thought for thought, _, _ in turns)
    assert min(corrected, idle) > 20


def test_a_problem_that_the_expert_cannot_parse_is_refused() -> None:
    with pytest.raises(ValueError, match="not a sentence of a generated math problem"):
        MathExpert().respond("A hen and a half lays an egg and a half.\nYour task is to: answer the question.")


def test_the_random_policy_rarely_solves_a_problem_and_always_ends(environment: MathEnvironment) -> None:
    tasks = MathTasks(ALL).tasks("train", 300, seed=5)
    episodes = [roll_out(environment, task, RandomPolicy(seed), limit=60) for seed, task in enumerate(tasks)]
    assert sum(won for won, _, _ in episodes) / len(episodes) <= 0.10
    assert all(turns[-1][1].startswith("finish[") for _, turns, _ in episodes)
    assert roll_out(environment, tasks[0], RandomPolicy(1)) == roll_out(environment, tasks[0], RandomPolicy(1))


def test_the_random_policy_calculates_what_it_quotes() -> None:
    """A thought quotes a sentence and values from the problem; the action is the calculation of that sentence."""
    environment, quoted = MathEnvironment(MathConfig()), 0
    for seed, task in enumerate(MathTasks().tasks("train", 60, seed=7)):
        _, turns, problem = roll_out(environment, task, RandomPolicy(seed))
        for thought, action, _ in turns:
            quotes = [one for one in read_story(problem.partition("\n")[0]) if thought.startswith(one[0])]
            if not quotes or action.startswith("finish["):
                continue
            quoted += 1
            _, sentence, slots = quotes[0]
            start = re.search(r"I start with (\d+)\.", thought)
            keys = sentence.keys(slots)
            values = {key: found[1] for key in keys if (found := re.search(rf"{key} (\d+)\.", thought, re.IGNORECASE))}
            memory = {**dict.fromkeys(keys, start[1] if start else ""), **values}
            assert len(keys) > 1 or action == f"calculate[{sentence.calculation(slots, memory)}]"
            assert all(f"{value}" in problem for value in values.values())
    assert quoted > 60
