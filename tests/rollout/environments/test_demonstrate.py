"""Demonstrations contain the thoughts, actions and states of a policy; a styled policy writes them in any style."""

from __future__ import annotations

import pytest

from rollout.environment import Reset, Step, Task
from rollout.environments.demonstrate import StyledPolicy, TurnMaker, demonstrate
from rollout.prompts.example import Demonstration, DemonstrationTurn, State
from rollout.prompts.styles import StyleName, new_style

TASK = Task("counting/1", "counting", "train", "count")


class Counting:
    """An environment that is solved by the action ``add`` twice."""

    def __init__(self) -> None:
        self.count = 0

    def reset(self, task: Task) -> Reset:
        self.count = 0
        return Reset("The count is 0.", "count to 2")

    def step(self, action: str) -> Step:
        self.count += action == "add"
        return Step(f"The count is {self.count}.", done=self.count == 2, success=self.count == 2)

    def admissible_actions(self) -> list[str]:
        return ["add"]

    def close(self) -> None:
        pass


class Fixed:
    """A policy that always writes the same text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.read: list[str] = []

    def respond(self, observation: str) -> str:
        self.read.append(observation)
        return self.text


def test_an_episode_becomes_a_demonstration() -> None:
    policy = Fixed("Thought: one more\nAction: add")
    assert demonstrate(Counting(), TASK, policy) == Demonstration(
        "count to 2",
        "The count is 0.",
        (
            DemonstrationTurn("one more", "add", "The count is 1."),
            DemonstrationTurn("one more", "add", "The count is 2."),
        ),
    )
    assert policy.read == ["The count is 0.\nYour task is to: count to 2.", "The count is 1."]


def test_the_state_follows_what_the_policy_reads_and_actions_become_code() -> None:
    def state(observation: str) -> State:
        return (("seen", observation),)

    made = demonstrate(Counting(), TASK, Fixed("Action: add"), state=state, code=lambda action: f"{action}()")
    assert [turn.state for turn in made.turns] == [
        (("seen", "The count is 0.\nYour task is to: count to 2."),),
        (("seen", "The count is 1."),),
    ]
    assert [turn.code for turn in made.turns] == ["add()", "add()"]


def test_an_unsolved_episode_and_a_turn_without_action_are_refused() -> None:
    with pytest.raises(ValueError, match="does not solve counting/1 within 5 steps"):
        demonstrate(Counting(), TASK, Fixed("Action: wait"), max_steps=5)
    with pytest.raises(ValueError, match="there is no action in 'hm'"):
        demonstrate(Counting(), TASK, Fixed("hm"))


@pytest.mark.parametrize(
    ("name", "text", "answered"),
    [
        ("react", "Thought: one more\nAction: add", "The count is 1."),
        ("act", "Action: add", "The count is 1."),
        ("stateact", "read: First.\nthought: one more\naction: add", "The count is 1."),
        (
            "codeact",
            "Thought: one more\nCode:\n```py\nadd()\n```<end_code>",
            "Observation:\nExecution logs:\nThe count is 1.\nLast output from code snippet:\nNone",
        ),
    ],
)
def test_a_policy_can_write_and_read_in_any_style(name: StyleName, text: str, answered: str) -> None:
    policy = Fixed("Thought: one more\nAction: add")
    maker = TurnMaker(policy, lambda read: (("read", read),), lambda action: f"{action}()")
    styled = StyledPolicy(maker, new_style(name, ""))
    assert styled.respond("First.") == text
    styled.respond(answered)
    assert policy.read == ["First.", "The count is 1."]
