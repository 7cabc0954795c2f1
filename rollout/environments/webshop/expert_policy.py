"""An expert that uses observations only: it searches, opens products, checks them, chooses options, buys, and says why.

It is not an oracle: it does not know the product that the instruction was written for. It looks up attributes that the
title does not name in the features, and leaves products that do not fit. At given rates it makes the mistakes of small
models, so that a model trained on its episodes also learns to recover from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollout.environments.scripted import ExpertPolicy, Move
from rollout.environments.webshop.belief_state import Offer, ParsedTask, View, read_page, read_task

_MAX_OPENED = 6
"""Maximum number of products to open; then it buys the first one that it opened."""
_MAX_PRICED = 3
"""Maximum number of too expensive products that a thought names."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Probabilities of the expert's errors, each from 0 to 1.

    Attributes:
        wrong_offer: opens a random product of the results.
        wrong_value: chooses a wrong value of an option first.
        idle_reading: reads the features without need.
    """

    wrong_offer: float = 0.06
    wrong_value: float = 0.06
    idle_reading: float = 0.03


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class WebShopExpert(ExpertPolicy[ErrorRates]):
    """Solves one WebShop episode."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._task: ParsedTask | None = None
        self._opened: list[Offer] = []
        self._refused = False
        """Whether the current product does not fit."""
        self._settled = False
        """Whether it gave up the search and accepts a product that does not fit."""
        self._chosen: list[str] = []
        self._confirmed: set[str] = set()
        self._idle = False
        """Whether it reads the features without need."""

    def _move(self, observation: str) -> Move:
        self._task = self._task or read_task(observation)
        view = read_page(observation)
        moves = {"results": self._open, "item": self._at_item, "features": self._at_features}
        return moves.get(view.kind, self._search)(view, self._task)

    def _search(self, view: View, task: ParsedTask) -> Move:
        wanted = ", ".join([task.product_type, *task.attributes, *(value for _, value in task.options)])
        return f"I need {format_task(task)}. I search for it.", f"search[{wanted}]"

    def _open(self, view: View, task: ParsedTask) -> Move:
        """Open the first product that may fit and was not opened yet."""
        self._refused, self._chosen, self._confirmed = False, [], set()
        known = [offer.asin for offer in self._opened]
        new = [offer for offer in view.offers if offer.asin not in known and _is(task.product_type, offer.title)]
        fitting = [offer for offer in new if offer.dollars <= task.limit]
        if fitting and len(known) < _MAX_OPENED:
            first = fitting[0]  # the best match in the ranking
            if self._errs(self._error_rates.wrong_offer):
                first = self._rng.choice([offer for offer in view.offers if offer.asin not in known])
            self._opened.append(first)
            thought = [f"I need {format_task(task)}."]
            dear = new[: new.index(first)] if first in fitting else []
            thought += [f"{offer.asin} costs {offer.price}. It is too much." for offer in dear[:_MAX_PRICED]]
            return " ".join([*thought, f"{first.asin} costs {first.price}. I open it."]), f"click[{first.asin}]"
        if view.offers and len(known) < _MAX_OPENED and "Page 1 " in " ".join(view.parts[:6]):
            return f"I need {format_task(task)}. Nothing new fits here. I look further.", "click[next >]"
        self._settled = True
        return self._settle(view, task)

    def _settle(self, view: View, task: ParsedTask) -> Move:
        here = [offer.asin for offer in view.offers]
        nearest = next((offer.asin for offer in self._opened if offer.asin in here), here[0] if here else "")
        if nearest:
            return f"I need {format_task(task)}. Nothing fits better than {nearest}. I open it.", f"click[{nearest}]"
        if "< Prev" in view.parts:
            return f"I need {format_task(task)}. Nothing is here. I go back.", "click[< prev]"
        less = task.product_type.split()[-1]
        return f"I need {format_task(task)}. Nothing is here. I search for less.", f"search[{less}]"

    def _at_item(self, view: View, task: ParsedTask) -> Move:
        if self._refused:
            return f"I need {format_task(task)}. It does not fit. I go back.", "click[< prev]"
        if self._errs(self._error_rates.idle_reading):
            self._idle = True
            return "I read the description.", "click[description]"
        if not self._settled:
            if self._opened and self._opened[-1].dollars > task.limit:
                self._refused = True
                return f"I need {format_task(task)}. It is too much. I go back.", "click[< prev]"
            for name, value in task.options:
                if value not in view.parts:
                    self._refused = True
                    return f"I need {name}: {value}. It is not here. I go back.", "click[< prev]"
            for said in task.attributes:
                if said not in self._confirmed and not view.contains(said):
                    return f"I need {said}. The title does not say it. I read the features.", "click[features]"
        for name, value in task.options:
            if value not in self._chosen and value in view.parts:
                return self._choose(name, value, view)
        return f"I need {format_task(task)}. All is chosen. I buy it.", "click[buy now]"

    def _choose(self, name: str, value: str, view: View) -> Move:
        others = [other for other in view.options().get(name, ()) if other != value]
        if others and self._errs(self._error_rates.wrong_value):
            value = self._rng.choice(others)
        else:
            self._chosen.append(value)
        return f"I need {name}: {value}. I choose {value}.", f"click[{value}]"

    def _at_features(self, view: View, task: ParsedTask) -> Move:
        if self._idle:
            self._idle = False
            return f"I need {format_task(task)}. I go back.", "click[< prev]"
        title = self._opened[-1].title if self._opened else ""
        asked = [said for said in task.attributes if said not in self._confirmed and not _is(said, title)]
        missing = [said for said in asked if not view.contains(said)]
        self._confirmed |= {*task.attributes} - {*missing}
        if missing:
            self._refused = True
            return f"I need {missing[0]}. The features do not say it. I go back.", "click[< prev]"
        return f"The features say {' and '.join(asked or task.attributes)}. I go back.", "click[< prev]"


def format_task(task: ParsedTask) -> str:
    """The task in a fixed wording."""
    return f"{task.product_type} that is {' and '.join(task.attributes)}" if task.attributes else task.product_type


def _is(phrase: str, title: str) -> bool:
    """Whether the title contains the phrase; an unparsed instruction matches any title."""
    return phrase.lower() in title.lower() or len(phrase.split()) > 4
