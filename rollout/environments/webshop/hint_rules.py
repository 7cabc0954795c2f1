"""What failed visits to the shop teach, by rules that read the pages, the actions and how a purchase was judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollout.environments.webshop.belief_state import ParsedTask, View, read_page, read_wish
from rollout.environments.webshop.pages import BUY
from rollout.environments.webshop.session import parse_action
from rollout.hints.rules import RuleBook, no_action, repeated_without_effect
from rollout.trajectory import Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation

_OPTIONS = {"color": "{color}", "size": "{size}", "shoe size": "{size}", "material": "{material}"}
_LEAST_NAME = 3
"""Shorter option values, such as sizes, are words of other meanings as well."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit to the shop as its shopper could know it.

    Attributes:
        wish: what to buy.
        turns: of the episode.
        deeds: (name, argument, the page on which it was done), as ``click``, ``search`` or other text.
        scores: how the purchase was judged, by part; empty if nothing was bought.
    """

    wish: ParsedTask
    turns: list[CompletedTurn]
    deeds: tuple[tuple[str, str, View], ...]
    scores: Mapping[str, float]

    @property
    def bought(self) -> bool:
        return any(name == "click" and argument == BUY.lower() for name, argument, _ in self.deeds)

    @property
    def offers(self) -> frozenset[str]:
        """Ids of all products in the results, in lower case."""
        return frozenset(offer.asin.lower() for _, _, page in self.deeds for offer in page.offers)

    @property
    def opened(self) -> bool:
        return any(argument in self.offers for name, argument, _ in self.deeds if name == "click")

    def at_last_item(self) -> list[tuple[str, View]]:
        """What was clicked since a product was last opened, and where."""
        clicks = [(argument, page) for name, argument, page in self.deeds if name == "click"]
        starts = [place for place, (argument, _) in enumerate(clicks) if argument in self.offers]
        return clicks[starts[-1] + 1 :] if starts else []


def read_visit(trajectory: Trajectory) -> Visit:
    """Follow an episode. Raises `ValueError` if it states no shopping wish."""
    turns, shown = completed_turns(trajectory), initial_observation(trajectory)
    wish = read_wish(shown)
    deeds = []
    page = read_page(shown.rpartition("\nYour task is to: ")[0] or shown)
    for turn in turns:
        deeds.append((*parse_action(turn.action or ""), page))
        page = read_page(turn.observation)
    return Visit(wish, turns, tuple(deeds), trajectory.outcome.scores)


# Rules. Each looks for one mistake.


def never_searched(visit: Visit) -> Iterator[str]:
    """No search was made."""
    if not any(name == "search" and argument for name, argument, _ in visit.deeds):
        yield "First search for the {item} with the words of the instruction."


def never_opened(visit: Visit) -> Iterator[str]:
    """Products were found, and none was looked at."""
    if visit.offers and not visit.opened:
        yield "Open an {item} of the results: click its id."


def never_bought(visit: Visit) -> Iterator[str]:
    """Products were looked at, and none was bought."""
    if visit.opened and not visit.bought:
        yield "Buy the {item} that fits best before your turns are used up."


def wrong_kind(visit: Visit) -> Iterator[str]:
    """What was bought is of another kind."""
    if visit.bought and visit.scores.get("type", 1.0) < 1.0:
        yield "Open only an {item} whose title names the kind of goods that is asked for."


def too_dear(visit: Visit) -> Iterator[str]:
    """What was bought costs too much."""
    if visit.bought and visit.scores.get("price", 1.0) < 1.0:
        yield "Do not buy an {item} whose price is above the limit of the instruction."


def wrong_options(visit: Visit) -> Iterator[str]:
    """An option that the wish names was not chosen, or another value of it."""
    if not visit.bought:
        return
    clicks = visit.at_last_item()
    clicked = {argument for argument, _ in clicks}
    for name, value in visit.wish.options:
        if value.lower() in clicked:
            continue
        others = {other.lower() for _, page in clicks for other in page.options().get(name, ())}
        word = _OPTIONS.get(name, "{attribute}")
        if clicked & others:
            yield f"Choose exactly the {word} that is asked for and no other one."
        elif others and value.lower() not in others:
            yield f"Leave an {{item}} that does not offer the {word} that is asked for."
        else:
            yield f"Click the {word} that is asked for before you click buy now."


def unproven_attribute(visit: Visit) -> Iterator[str]:
    """A product was bought of which no page said a wanted attribute."""
    pages = [page for _, page in visit.at_last_item()]
    if visit.bought and any(not any(page.says(wanted) for page in pages) for wanted in visit.wish.attributes):
        yield "Buy an {item} only if its title or its features say the {attribute} that is asked for."


def thin_search(visit: Visit) -> Iterator[str]:
    """All searches left out most of what is wanted."""
    wanted = [visit.wish.sort, *visit.wish.attributes]
    searches = [argument for name, argument, _ in visit.deeds if name == "search"]
    if searches and not any(all(word.lower() in words for word in wanted) for words in searches):
        yield "Search for the kind of {item} together with every {attribute} that is asked for."


def not_on_the_page(visit: Visit) -> Iterator[str]:
    """Something was clicked that the page does not show."""
    for name, argument, page in visit.deeds:
        parts = {part.lower() for part in page.parts}
        if name == "click" and argument not in parts:
            yield "Click only what the {page} shows as a button, letter by letter."
            return


def names_of(visit: Visit) -> Mapping[str, str]:
    """Names of this one visit."""
    wish = visit.wish
    names = {wish.sort: "{item}", **dict.fromkeys(visit.offers, "{item}")}
    names |= dict.fromkeys(wish.attributes, "{attribute}")
    names |= {value: _OPTIONS.get(name, "{attribute}") for name, value in wish.options}
    return {name: put for name, put in names.items() if len(name) >= _LEAST_NAME}


RULES: RuleBook[Visit] = RuleBook(
    read=read_visit,
    rules=(
        never_searched,
        never_opened,
        never_bought,
        wrong_kind,
        wrong_options,
        unproven_attribute,
        too_dear,
        thin_search,
        not_on_the_page,
        lambda visit: repeated_without_effect(visit.turns),
        lambda visit: no_action(visit.turns),
    ),
    names=names_of,
    placeholders=("page", "item", "size", "color", "attribute", "material"),
)
