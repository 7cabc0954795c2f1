"""Demonstrations of the household: episodes of the expert, identical in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rollout.environments.household.demonstrations import StateKeeper, household_demonstrations
from rollout.environments.household.environment import HouseholdConfig
from rollout.episode.config import AgentConfig
from rollout.factory import make_style
from rollout.prompts.styles import StyleName

NAMES: tuple[StyleName, ...] = ("react", "act", "stateact", "codeact")


def test_a_state_is_what_an_agent_has_read() -> None:
    keep = StateKeeper()
    assert dict(keep("You see a shelf 1, and a fridge 1.\nYour task is to: put a mug in fridge.")) == {
        "goal": "put a mug in fridge",
        "locations visited": "",
        "current location": "starting location",
        "current inventory": "",
    }
    keep("You arrive at fridge 1. The fridge 1 is closed.")
    keep("You arrive at shelf 1. On the shelf 1, you see a mug 1.")
    keep("You pick up the mug 1 from the shelf 1.")
    assert dict(keep("You arrive at fridge 1. The fridge 1 is closed.")) == {
        "goal": "put a mug in fridge",
        "locations visited": "fridge 1, shelf 1",
        "current location": "fridge 1",
        "current inventory": "mug 1",
    }
    assert dict(keep("You move the mug 1 to the fridge 1."))["current inventory"] == ""


def test_each_episode_ends_with_the_task_done_and_each_turn_has_a_state() -> None:
    assert len(household_demonstrations()) == 2
    for made in household_demonstrations():
        assert 4 <= len(made.turns) <= 12
        assert all(turn.thought and turn.state for turn in made.turns)
        states = [dict(turn.state or ()) for turn in made.turns]
        assert {state["goal"] for state in states} == {made.instruction}
        for before, turn in zip(states[1:], made.turns, strict=False):
            if turn.action.startswith("go to "):
                assert before["current location"] == turn.action.removeprefix("go to ")
            if turn.action.startswith("take "):
                assert turn.action.startswith(f"take {before['current inventory']} from ")
        assert made.turns[-1].action.startswith("move ")


def test_every_style_renders_and_parses_demonstrations() -> None:
    for name in NAMES:
        style = make_style(AgentConfig(style=name, instructions="full", examples=2), HouseholdConfig())
        assert style.examples == household_demonstrations()
        for made in household_demonstrations():
            assert all(turn.action in (style.parse(style.turn(turn)[0]).action or "") for turn in made.turns)
            assert made.turns[-1].action in style.example(made)


def test_they_are_the_same_in_another_process() -> None:
    code = "from rollout.environments.household.demonstrations import *; print(repr(household_demonstrations()))"
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == repr(household_demonstrations())
