"""A shopper that knows no more than it has read: it searches, opens what fits, checks, chooses, buys, and says why.

It is no oracle: it does not know which product the wish was written for. What the title does not say it looks up among
the features; what does not fit it leaves again. Now and then it makes the mistakes that small models make, so that a
model trained on its episodes also sees how to go on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rollout.environments.scripted import ExpertPolicy, Move
from rollout.environments.webshop.belief_state import Offer, ParsedTask, View, read_page, read_wish

_MAX_OPENED = 6
"""After so many products it settles for the first that it opened."""
_MAX_PRICED = 3
"""So many products that cost too much are named before the one that does not."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often the expert errs: chances from 0 to 1.

    Attributes:
        wrong_offer: opens any product of the results.
        wrong_value: chooses another value of an option first.
        idle_reading: reads what it need not.
    """

    wrong_offer: float = 0.06
    wrong_value: float = 0.06
    idle_reading: float = 0.03


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class WebShopExpert(ExpertPolicy[ErrorRates]):
    """Plays one shopping episode."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._wish: ParsedTask | None = None
        self._opened: list[Offer] = []
        self._refused = False
        """The product in view does not fit."""
        self._settled = False
        """Nothing fits: take what comes nearest."""
        self._chosen: list[str] = []
        self._confirmed: set[str] = set()
        self._idle = False
        """It reads what it need not."""

    def _move(self, observation: str) -> Move:
        view = read_page(observation.rpartition("\nYour task is to: ")[0] or observation)
        if self._wish is None:
            self._wish = read_wish(observation)
        return self._decide(view, self._wish)

    def _decide(self, view: View, wish: ParsedTask) -> Move:
        if view.kind == "results":
            return self._open(view, wish)
        if view.kind == "item":
            return self._at_item(view, wish)
        if view.kind == "features":
            return self._at_features(view, wish)
        return self._search(wish)

    def _search(self, wish: ParsedTask) -> Move:
        wanted = ", ".join([wish.sort, *wish.attributes, *(value for _, value in wish.options)])
        return f"I need {in_words(wish)}. I search for it.", f"search[{wanted}]"

    def _open(self, view: View, wish: ParsedTask) -> Move:
        """The first offer that can fit and was not opened yet."""
        self._refused, self._chosen, self._confirmed = False, [], set()
        known = [offer.asin for offer in self._opened]
        new = [offer for offer in view.offers if offer.asin not in known and _is(wish.sort, offer.title)]
        fitting = [offer for offer in new if offer.dollars <= wish.limit]
        if fitting and len(known) < _MAX_OPENED:
            first = fitting[0]  # the search has put what says most of the wish first
            if self._errs(self._error_rates.wrong_offer):
                first = self._rng.choice([offer for offer in view.offers if offer.asin not in known])
            self._opened.append(first)
            thought = [f"I need {in_words(wish)}."]
            dear = new[: new.index(first)] if first in fitting else []
            thought += [f"{offer.asin} costs {offer.price}. It is too much." for offer in dear[:_MAX_PRICED]]
            return " ".join([*thought, f"{first.asin} costs {first.price}. I open it."]), f"click[{first.asin}]"
        if view.offers and len(known) < _MAX_OPENED and "Page 1 " in " ".join(view.parts[:6]):
            return f"I need {in_words(wish)}. Nothing new fits here. I look further.", "click[next >]"
        self._settled = True
        return self._settle(view, wish)

    def _settle(self, view: View, wish: ParsedTask) -> Move:
        here = [offer.asin for offer in view.offers]
        nearest = next((offer.asin for offer in self._opened if offer.asin in here), here[0] if here else "")
        if nearest:
            return f"I need {in_words(wish)}. Nothing fits better than {nearest}. I open it.", f"click[{nearest}]"
        if "< Prev" in view.parts:
            return f"I need {in_words(wish)}. Nothing is here. I go back.", "click[< prev]"
        return f"I need {in_words(wish)}. Nothing is here. I search for less.", f"search[{wish.sort.split()[-1]}]"

    def _at_item(self, view: View, wish: ParsedTask) -> Move:
        if self._refused:
            return f"I need {in_words(wish)}. It does not fit. I go back.", "click[< prev]"
        if self._errs(self._error_rates.idle_reading):
            self._idle = True
            return "I read the description.", "click[description]"
        if not self._settled:
            if self._opened and self._opened[-1].dollars > wish.limit:
                self._refused = True
                return f"I need {in_words(wish)}. It is too much. I go back.", "click[< prev]"
            for name, value in wish.options:
                if value not in view.parts:
                    self._refused = True
                    return f"I need {name}: {value}. It is not here. I go back.", "click[< prev]"
            unsure = next(self._unsure(view, wish), None)
            if unsure is not None:
                return f"I need {unsure}. The title does not say it. I read the features.", "click[features]"
        for name, value in wish.options:
            if value not in self._chosen and value in view.parts:
                return self._choose(name, value, view)
        return f"I need {in_words(wish)}. All is chosen. I buy it.", "click[buy now]"

    def _choose(self, name: str, value: str, view: View) -> Move:
        others = [other for other in view.options().get(name, ()) if other != value]
        if others and self._errs(self._error_rates.wrong_value):
            value = self._rng.choice(others)
        else:
            self._chosen.append(value)
        return f"I need {name}: {value}. I choose {value}.", f"click[{value}]"

    def _unsure(self, view: View, wish: ParsedTask) -> Iterator[str]:
        return (said for said in wish.attributes if said not in self._confirmed and not view.says(said))

    def _at_features(self, view: View, wish: ParsedTask) -> Move:
        if self._idle:
            self._idle = False
            return f"I need {in_words(wish)}. I go back.", "click[< prev]"
        title = self._opened[-1].title if self._opened else ""
        asked = [said for said in wish.attributes if said not in self._confirmed and not _is(said, title)]
        missing = [said for said in asked if not view.says(said)]
        self._confirmed |= {*wish.attributes} - {*missing}
        if missing:
            self._refused = True
            return f"I need {missing[0]}. The features do not say it. I go back.", "click[< prev]"
        return f"The features say {' and '.join(asked or wish.attributes)}. I go back.", "click[< prev]"


def in_words(wish: ParsedTask) -> str:
    """The wish, in the same words every time."""
    return f"{wish.sort} that is {' and '.join(wish.attributes)}" if wish.attributes else wish.sort


def _is(phrase: str, title: str) -> bool:
    """Whether the title says it; a wish that is not split into its parts may fit any title."""
    return phrase.lower() in title.lower() or len(phrase.split()) > 4
