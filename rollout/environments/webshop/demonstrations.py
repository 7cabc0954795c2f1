"""Demonstrations of WebShop for all prompt styles: episodes of the expert in a small generated catalog."""

from __future__ import annotations

import re
from functools import cache

from rollout.environments.demonstrate import demonstrate
from rollout.environments.webshop.belief_state import View, read_page
from rollout.environments.webshop.environment import WebShopConfig, WebShopEnvironment, webshop_tasks
from rollout.environments.webshop.expert_policy import NO_MISTAKES, WebShopExpert
from rollout.prompts.codeact import as_code
from rollout.prompts.example import Demonstration, State
from rollout.prompts.tool import Tool

EXAMPLE_SHOP = WebShopConfig(products=100, catalogue_seed=7919)
"""Settings of the catalog; a run is unlikely to use its seed. It builds in a few hundredths of a second."""
EXAMPLE_TASKS = (0, 1)
"""Indices of the training tasks."""

TOOLS = (
    Tool("search", "looks for products, on the first page", "words (string)", "string", "search[{}]"),
    Tool(
        "click",
        "clicks a button of the page: the id of a product, the value of an option, or back to search, next >, < prev, "
        "description, features, reviews, buy now; buy now ends the visit",
        "button (string)",
        "string",
        "click[{}]",
    ),
)
"""The actions as functions for code."""

_CHOSEN = re.compile(r"^  \[clicked button\] (.*) \[clicked button_\]$", re.MULTILINE)
_RESULTS = re.compile(r"Page (\d+) \(Total results: \d+\)")


class StateKeeper:
    """Tracks the state that an agent can write down: goal, current page and chosen options.

    Pages of the mode ``text`` do not show chosen options, so the state then has no selection.
    """

    def __init__(self) -> None:
        self._goal = ""
        self._is_rich = False
        self._ids: dict[str, str] = {}
        """Title to id of the products in the last results."""
        self._place = ""
        self._item = "Item"
        self._chosen: list[str] = []

    def __call__(self, observation: str) -> State:
        """Read the first user message, then each observation, and return the state."""
        if not self._goal:
            observation, _, task = observation.rpartition("\nYour task is to: ")
            self._goal, self._is_rich = task.removesuffix("."), "[button] " in observation
        self._read(observation, read_page(observation))
        selection = (("current selection", ", ".join(self._chosen)),) if self._is_rich else ()
        return (("goal", self._goal), ("current location", self._place), *selection)

    def _read(self, text: str, page: View) -> None:
        match page.kind:
            case "search":
                self._place, self._chosen = "Search Home Page", []
            case "results":
                self._ids = {offer.title: offer.asin for offer in page.offers}
                number = next((found[1] for part in page.parts if (found := _RESULTS.fullmatch(part))), "1")
                self._place, self._chosen = f"Search Results Page, page {number}", []
            case "item":
                # A product page does not show the product's id, but the results page does.
                self._item = next((f"Item {self._ids[part]}" for part in page.parts if part in self._ids), "Item")
                self._place, self._chosen = f"{self._item} Page", _CHOSEN.findall(text)
            case "features":
                self._place = f"{self._item} Details Page"


@cache
def webshop_demonstrations() -> tuple[Demonstration, ...]:
    """Episodes of the expert on fixed goals, identical in every process."""
    tasks = webshop_tasks(EXAMPLE_SHOP).tasks("train", max(EXAMPLE_TASKS) + 1)
    environment = WebShopEnvironment(EXAMPLE_SHOP)
    return tuple(
        demonstrate(
            environment, tasks[index], WebShopExpert(error_rates=NO_MISTAKES), state=StateKeeper(), code=as_code
        )
        for index in EXAMPLE_TASKS
    )
