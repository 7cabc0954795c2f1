"""A shopper with words and no aim: it searches for and clicks what it reads, and says so.

Whatever its thoughts state is true, but nothing it does serves the wish. A model trained on such play knows the
language of the shop and can copy names and ids, and has no policy.
"""

from __future__ import annotations

from random import Random

from rollout.shop.knowledge import View, Wish, read_page, read_wish
from rollout.shop.vocabulary import OPTIONS, SORTS

_MENU = {
    "Back to Search",
    "< Prev",
    "Next >",
    "Description",
    "Features",
    "Reviews",
    "Buy Now",
    "Search",
    "Instruction:",
}


class RandomShopper:
    """Plays one episode at random (`rollout.policy.TextPolicy`).

    Its first thought names what the wish asks for, though nothing follows from it.

    Args:
        seed: of all it does.
        buys: chance of buying, each time that it could.
    """

    def __init__(self, seed: int = 0, buys: float = 0.1) -> None:
        self._rng = Random(seed)
        self._is_first = True
        self._buys = buys

    def respond(self, observation: str) -> str:
        page = read_page(observation.rpartition("\nYour task is to: ")[0] or observation)
        wish = read_wish(observation) if self._is_first else None
        self._is_first = False
        thought, action = self._move(page, wish)
        return f"Thought: {thought}\nAction: {action}"

    def _move(self, page: View, wish: Wish | None) -> tuple[str, str]:
        rng = self._rng
        if page.kind == "results" and page.offers and rng.random() < 0.8:
            offer = rng.choice(page.offers)
            return f"{offer.asin} costs {offer.price}. I open it.", f"click[{offer.asin}]"
        if page.kind == "item":
            return self._at_item(page)
        if page.kind == "features":
            return "I go back.", "click[< prev]"
        if page.kind == "results" and rng.random() < 0.5:
            return "I look further.", "click[next >]"
        return self._search(wish)

    def _search(self, wish: Wish | None) -> tuple[str, str]:
        sort = self._rng.choice(SORTS)
        words = f"{sort.name} {self._rng.choice(sort.attributes)}"
        said = f"I need {wish.sort}. " if wish else ""
        return f"{said}I search for {words}.", f"search[{words}]"

    def _at_item(self, page: View) -> tuple[str, str]:
        rng = self._rng
        if rng.random() < self._buys:
            return "I buy it.", "click[buy now]"
        values = [part for part in page.parts[2:] if part not in _MENU and _is_value(part)]
        if values and rng.random() < 0.6:
            value = rng.choice(values)
            return f"I choose {value}.", f"click[{value}]"
        if rng.random() < 0.5:
            name = rng.choice(("description", "features", "reviews"))
            return f"I read the {name}.", f"click[{name}]"
        return "I go back.", "click[< prev]"


def _is_value(part: str) -> bool:
    return any(part in values for values in OPTIONS.values())
