"""Demonstrations of WebShop for all prompt styles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

from rollout.environments.webshop.demonstrations import (
    EXAMPLE_SHOP,
    EXAMPLE_TASKS,
    TOOLS,
    StateKeeper,
    webshop_demonstrations,
)
from rollout.environments.webshop.environment import WebShopConfig, WebShopEnvironment, webshop_tasks
from rollout.environments.webshop.plugin import WEBSHOP
from rollout.episode.config import AgentConfig
from rollout.factory import make_environment
from rollout.prompts.example import Demonstration
from rollout.prompts.styles import StyleName, new_style

ROOT = Path(__file__).parents[4]
STYLES = [name for name in get_args(StyleName) if name != "cot"]
"""Prompt styles with several turns."""
TASKS = webshop_tasks(EXAMPLE_SHOP).tasks("train", max(EXAMPLE_TASKS) + 1)


def test_demonstrations_are_successful_and_available_in_every_style() -> None:
    environment = WebShopEnvironment(EXAMPLE_SHOP)
    for number, demonstration in zip(EXAMPLE_TASKS, WEBSHOP.load_examples(), strict=True):
        assert environment.reset(TASKS[number]).observation == demonstration.observation
        steps = [environment.step(turn.action) for turn in demonstration.turns]
        assert [step.observation for step in steps] == [turn.observation for turn in demonstration.turns]
        assert steps[-1].success
        for name in STYLES:
            new_style(name, "", WEBSHOP.load_examples(), shown=1, tools=WEBSHOP.load_tools()).example(demonstration)


def test_no_episode_runs_before_examples_are_requested() -> None:
    code = (
        "from rollout.environments.plugins import find_plugin\n"
        "from rollout.environments.webshop.demonstrations import webshop_demonstrations\n"
        "print(find_plugin('webshop').load_tools() != (), webshop_demonstrations.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "0"]


def test_code_shows_pages_and_buys_what_is_wanted(code_agent: AgentConfig) -> None:
    simulator, style = make_environment(EXAMPLE_SHOP, code_agent), new_style("codeact", "")
    for number, demonstration in zip(EXAMPLE_TASKS, webshop_demonstrations(), strict=True):
        simulator.reset(TASKS[number])
        steps = [simulator.step(turn.code or "") for turn in demonstration.turns]
        assert [step.observation for step in steps] == [style.turn(turn)[1] for turn in demonstration.turns]
        assert steps[-1].success
    simulator.close()


def states(demonstration: Demonstration) -> list[dict[str, str]]:
    return [dict(turn.state or ()) for turn in demonstration.turns]


def test_the_state_says_what_is_wanted_on_which_page_the_agent_is_and_what_it_has_chosen() -> None:
    chosen, read = webshop_demonstrations()
    item = next(turn.action for turn in chosen.turns if turn.action.startswith("click[")).removeprefix("click[")[:-1]
    first, second = (turn.action.removeprefix("click[")[:-1] for turn in chosen.turns[2:4])
    assert [(state["current location"], state["current selection"]) for state in states(chosen)] == [
        ("Search Home Page", ""),
        ("Search Results Page, page 1", ""),
        (f"Item {item} Page", ""),
        (f"Item {item} Page", first),
        (f"Item {item} Page", f"{first}, {second}"),
    ]
    assert {state["goal"] for state in states(chosen)} == {chosen.instruction}
    assert [turn.action for turn in read.turns][2:4] == ["click[features]", "click[< prev]"]
    assert states(read)[3]["current location"] == states(read)[2]["current location"].replace(" Page", " Details Page")


def test_a_choice_is_forgotten_where_the_shop_forgets_it() -> None:
    environment, keep = WebShopEnvironment(EXAMPLE_SHOP), StateKeeper()
    reset = environment.reset(TASKS[0])
    keep(f"{reset.observation}\nYour task is to: {reset.instruction}.")
    said = []
    for action in [turn.action for turn in webshop_demonstrations()[0].turns[:3]] + [
        "click[features]",
        "click[< prev]",
    ]:
        said.append(dict(keep(environment.step(action).observation))["current selection"])
    assert said == ["", "", "matte", "matte", "matte"]
    results = dict(keep(environment.step("click[< prev]").observation))
    assert (results["current location"], results["current selection"]) == ("Search Results Page, page 1", "")
    assert dict(keep(environment.step("click[next >]").observation))["current location"].endswith("page 2")
    assert dict(keep(environment.step("click[back to search]").observation))["current location"] == "Search Home Page"


def test_pages_that_do_not_show_choices_leave_the_state_without_a_selection() -> None:
    config = WebShopConfig(products=100, catalogue_seed=7919, observation="text")
    environment, keep = WebShopEnvironment(config), StateKeeper()
    reset = environment.reset(TASKS[0])
    assert dict(keep(f"{reset.observation}\nYour task is to: {reset.instruction}.")) == {
        "goal": reset.instruction,
        "current location": "Search Home Page",
    }
    for turn in webshop_demonstrations()[0].turns[:3]:
        state = dict(keep(environment.step(turn.action).observation))
    assert state == {
        "goal": reset.instruction,
        "current location": states(webshop_demonstrations()[0])[3]["current location"],
    }


def test_every_action_is_a_function_and_the_instructions_leave_the_form_to_the_style() -> None:
    assert {tool.action.replace("{}", "") for tool in TOOLS} == {"search[]", "click[]"}
    told = {name: new_style(name, WEBSHOP.load_instructions()["full"], tools=TOOLS).instructions for name in STYLES}
    assert not any("{form}" in text for text in told.values())
    assert "- click: " in told["codeact"]
    assert told["react"].startswith("Shop on a website: find and buy what is asked for.\nChoose the options")
    assert "the visit.\nIn each turn write a thought" in told["react"]
