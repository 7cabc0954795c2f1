"""A shopper that knows no more than it has read: it searches, opens what fits, checks, chooses, buys, and says why.

It is no oracle: it does not know which product the wish was written for. What the title does not say it looks up among
the features; what does not fit it leaves again.
"""

from __future__ import annotations

from collections.abc import Iterator

from rollout.shop.knowledge import Offer, View, Wish, read_page, read_wish

_MAX_OPENED = 6
"""After so many products it settles for the first that it opened."""

Move = tuple[str, str]
"""Thought, action."""


class ShopExpert:
    """Plays one episode (`rollout.policy.TextPolicy`), always the same for the same observations."""

    def __init__(self, seed: int = 0) -> None:
        self._wish: Wish | None = None
        self._opened: list[Offer] = []
        self._refused = False
        """The product in view does not fit."""
        self._settled = False
        """Nothing fits: take what comes nearest."""
        self._chosen: list[str] = []
        self._confirmed: set[str] = set()

    def respond(self, observation: str) -> str:
        view = read_page(observation.rpartition("\nYour task is to: ")[0] or observation)
        if self._wish is None:
            self._wish = read_wish(observation)
        thought, action = self._decide(view, self._wish)
        return f"Thought: {thought}\nAction: {action}"

    def _decide(self, view: View, wish: Wish) -> Move:
        if view.kind == "results":
            return self._open(view, wish)
        if view.kind == "item":
            return self._at_item(view, wish)
        if view.kind == "features":
            return self._at_features(view, wish)
        return self._search(wish)

    def _search(self, wish: Wish) -> Move:
        wanted = " ".join([wish.sort, *wish.attributes, *(value for _, value in wish.options)])
        return f"I need {_words(wish)}. I search for it.", f"search[{wanted}]"

    def _open(self, view: View, wish: Wish) -> Move:
        """The first offer that can fit and was not opened yet."""
        self._refused, self._chosen, self._confirmed = False, [], set()
        known = [offer.asin for offer in self._opened]
        fitting = [offer for offer in view.offers if offer.dollars <= wish.limit and _is(wish.sort, offer.title)]
        new = [offer for offer in fitting if offer.asin not in known]
        if new and len(known) < _MAX_OPENED:
            first = new[0]  # the search has put what says most of the wish first
            self._opened.append(first)
            return f"I need {_words(wish)}. {first.asin} costs {first.price}. I open it.", f"click[{first.asin}]"
        if view.offers and len(known) < _MAX_OPENED and "Page 1 " in " ".join(view.parts[:6]):
            return f"I need {_words(wish)}. Nothing new fits here. I look further.", "click[next >]"
        self._settled = True
        return self._settle(view, wish)

    def _settle(self, view: View, wish: Wish) -> Move:
        here = [offer.asin for offer in view.offers]
        nearest = next((offer.asin for offer in self._opened if offer.asin in here), here[0] if here else "")
        if nearest:
            return f"I need {_words(wish)}. Nothing fits better than {nearest}. I open it.", f"click[{nearest}]"
        if "< Prev" in view.parts:
            return f"I need {_words(wish)}. Nothing is here. I go back.", "click[< prev]"
        return f"I need {_words(wish)}. Nothing is here. I search for less.", f"search[{wish.sort.split()[-1]}]"

    def _at_item(self, view: View, wish: Wish) -> Move:
        if self._refused:
            return f"I need {_words(wish)}. It does not fit. I go back.", "click[< prev]"
        for name, value in wish.options:
            if value not in view.parts and not self._settled:
                self._refused = True
                return f"I need {name} {value}. It is not here. I go back.", "click[< prev]"
        unsure = next(self._unsure(view, wish), None)
        if unsure is not None and not self._settled:
            return f"I need {unsure}. The title does not say it. I read the features.", "click[features]"
        for name, value in wish.options:
            if value not in self._chosen and value in view.parts:
                self._chosen.append(value)
                return f"I need {name} {value}. I choose {value}.", f"click[{value}]"
        return f"I need {_words(wish)}. All is chosen. I buy it.", "click[buy now]"

    def _unsure(self, view: View, wish: Wish) -> Iterator[str]:
        return (said for said in wish.attributes if said not in self._confirmed and not view.says(said))

    def _at_features(self, view: View, wish: Wish) -> Move:
        title = self._opened[-1].title if self._opened else ""
        missing = [said for said in self._unsure(view, wish) if not _is(said, title)]
        self._confirmed |= {*wish.attributes} - {*missing}
        if missing:
            self._refused = True
            return f"I need {missing[0]}. The features do not say it. I go back.", "click[< prev]"
        return f"The features say {wish.attributes[-1]}. I go back.", "click[< prev]"


def _words(wish: Wish) -> str:
    """The wish, in the same words every time."""
    return f"{wish.sort} that is {' and '.join(wish.attributes)}" if wish.attributes else wish.sort


def _is(phrase: str, title: str) -> bool:
    """Whether the title says it; a wish that is not split into its parts may fit any title."""
    return phrase.lower() in title.lower() or len(phrase.split()) > 4
