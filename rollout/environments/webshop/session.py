"""One WebShop session and its actions. Rules and quirks are WebShop's, reproduced on purpose."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import NamedTuple

from rollout.environments.webshop import pages
from rollout.environments.webshop.pages import ObservationMode, Page
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.reward import Reward, RewardRule, reward_of
from rollout.environments.webshop.store import Shop

_ADDRESS = "http://127.0.0.1:3000"
_HITS = 50


class Reply(NamedTuple):
    """The answer to one action; ``valid`` if the action was understood and allowed."""

    observation: str
    valid: bool


def parse_action(action: str) -> tuple[str, str]:
    r"""Name and lower-case argument of ``name[argument]``; the argument is "" if the text has another form.

    Equivalent to a match of WebShop's ``(.+)\[(.+)\]`` at the beginning of the text, in linear time.
    """
    line = action.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 1, max(end - 1, 0))
    return (line[:start], line[start + 1 : end].lower()) if start > 0 else (action, "")


class Session:
    """A session for one goal.

    Args:
        shop: catalog and search.
        goal: the product to buy.
        name: session name in URLs; also seeds the random search ``<r>``.
        mode: format of the pages.
        rule: reward rule.
    """

    def __init__(
        self,
        shop: Shop,
        goal: Goal,
        name: str = "0",
        mode: ObservationMode = "text_rich",
        rule: RewardRule = "original",
    ) -> None:
        self.goal = goal
        self.reward: Reward | None = None
        """Reward of the purchase; None before it."""
        self.bought: tuple[str, dict[str, str], float] | None = None
        """Id, options and price of the bought product; None before the purchase."""
        self._shop, self._name, self._mode, self._rule = shop, name, mode, rule
        self._random = random.Random(f"shop/{name}")
        self._place = "search"
        self._hits: tuple[list[str], list[int]] | None = None
        self._start()

    def _start(self) -> None:
        """Reset the session and show the first page."""
        self._keywords: list[str] = []
        self._page_number = 1
        self._asin = ""
        self._visited: frozenset[str] = frozenset()
        self._options: dict[str, str] = {}
        self._show("search", pages.search_page(self.goal.instruction, f"{_ADDRESS}/{self._name}"))

    def copy(self) -> Session:
        """An independent copy of the session; the shop is shared."""
        other = copy(self)
        other._options, other._random = dict(self._options), deepcopy(self._random)
        return other

    @property
    def url(self) -> str:
        """URL of the current page."""
        return self._page.url

    @property
    def has_search_bar(self) -> bool:
        return self._place == "search"

    def observation(self, mode: ObservationMode | None = None) -> str:
        """The current page as text."""
        return self._page.text(mode or self._mode, self._visited)

    def clickables(self) -> Sequence[str]:
        """Texts that can be clicked, in WebShop's order."""
        return list(self._clickables)

    def step(self, action: str) -> Reply:
        """Execute ``search[words]`` or ``click[thing]``; any other text changes nothing."""
        match parse_action(action):
            case "search", words if words and self.reward is None:
                self._search(words.split(" "), 1)
            case "click", name if name in self._clickables and name != "search" and self.reward is None:
                self._click(name)
            case _:
                return Reply(self.observation(), False)
        return Reply(self.observation(), True)

    def _show(self, place: str, page: Page) -> None:
        self._place, self._page = place, page
        self._clickables = page.clickables()

    def _click(self, name: str) -> None:
        match self._place, name:
            case _, "buy now":
                self._buy()
            case _, "back to search":
                self._start()
            case "results", "next >":
                self._search(self._keywords, self._page_number + 1)
            case "results", "< prev":
                self._search(self._keywords, self._page_number - 1)
            case "item", "< prev":
                self._search(self._keywords, self._page_number)
            case _, "description" | "features" | "reviews":
                self._show_sub_page(name.capitalize())
            case _:
                self._choose(name)

    def _search(self, keywords: list[str], page: int) -> None:
        self._keywords, self._page_number = keywords, page
        self._asin, self._options = "", {}
        hits = self._find(keywords)
        start = (page - 1) * pages.PRODUCTS_A_PAGE
        products = [self._shop.product(hit) for hit in hits[start : start + pages.PRODUCTS_A_PAGE]]
        url = f"{_ADDRESS}/search_results/{self._name}/{'+'.join(keywords)}/{page}"
        self._show("results", pages.results_page(self.goal.instruction, products, page, len(hits), url))

    def _find(self, keywords: list[str]) -> list[int]:
        """Positions of the search results; the last search is cached."""
        if self._hits is None or self._hits[0] != keywords or keywords[0] == "<r>":
            self._hits = (keywords, self._look_up(keywords))
        return self._hits[1]

    def _look_up(self, keywords: list[str]) -> list[int]:
        match keywords:
            case ["<r>", *_]:
                return self._random.sample(range(self._shop.num_products), min(_HITS, self._shop.num_products))
            case ["<q>", *rest]:
                return self._shop.products_in_group("query", " ".join(rest).strip())
            case ["<c>", category, *_]:
                return self._shop.products_in_group("category", category.strip())
            case ["<c>"] | ["<a>", *_]:  # the latter raises an error in the original
                return []
        return self._shop.search(" ".join(keywords), _HITS)

    def _choose(self, name: str) -> None:
        """Handle a click on a product, on an option value, or on the way back from a sub-page."""
        line = self._clickables[name]
        if line.look == "product":
            self._asin = line.text
            self._visited |= {line.text}
        elif line.look == "option":
            self._options[line.option] = name
        url = self._item_url("item_page", json.dumps(self._options))
        self._show("item", pages.item_page(self.goal.instruction, self._shop.product(self._position()), url))

    def _show_sub_page(self, name: str) -> None:
        product = self._shop.product(self._position())
        url = self._item_url("item_sub_page", f"{name}/{self._options}")
        self._show("sub page", pages.sub_page(self.goal.instruction, product, name, url))

    def _buy(self) -> None:
        position = self._position()
        product, price = self._shop.product(position), self._shop.price(position)
        self.bought = (self._asin, dict(self._options), price)
        self.reward = reward_of(self.goal, product, price, self._options, self._rule)
        url = f"{_ADDRESS}/done/{self._name}/{self._asin}/{self._options}"
        self._show("done", pages.done_page(self._asin, self._options, self.reward.total, url))

    def _position(self) -> int:
        position = self._shop.position(self._asin)
        assert position is not None  # only products of the shop are offered
        return position

    def _item_url(self, kind: str, end: str) -> str:
        words = "+".join(self._keywords)
        return f"{_ADDRESS}/{kind}/{self._name}/{self._asin}/{words}/{self._page_number}/{end}"
