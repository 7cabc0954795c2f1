"""Hint rules for failed WebShop episodes; they read pages, actions and the scores of the purchase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from rollout.environments.webshop.belief_state import ParsedTask, View, read_page, read_task
from rollout.environments.webshop.pages import BUY
from rollout.environments.webshop.session import parse_action
from rollout.hints.rules import RuleBook, no_action, repeated_without_effect, when
from rollout.trajectory import Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation

_OPTIONS = {"color": "{color}", "size": "{size}", "shoe size": "{size}", "material": "{material}"}
_LEAST_NAME = 3
"""Minimum length of an option value that is replaced; shorter ones, such as sizes, occur with other meanings."""


@dataclass(frozen=True, slots=True)
class WebShopEpisode:
    """A WebShop episode as observed by its agent.

    Attributes:
        task: the parsed task.
        turns: turns of the episode.
        actions: (name, argument, page before the action); the name is ``click``, ``search`` or other text.
        scores: parts of the reward; empty if nothing was bought.
    """

    task: ParsedTask
    turns: list[CompletedTurn]
    actions: tuple[tuple[str, str, View], ...]
    scores: Mapping[str, float]

    def arguments(self, wanted: str) -> list[str]:
        """Arguments of the actions of this name."""
        return [argument for name, argument, _ in self.actions if name == wanted]

    @property
    def bought(self) -> bool:
        return BUY.lower() in self.arguments("click")

    @property
    def offers(self) -> frozenset[str]:
        """Ids of all products in the results, in lower case."""
        return frozenset(offer.asin.lower() for _, _, page in self.actions for offer in page.offers)

    @property
    def opened(self) -> bool:
        return not self.offers.isdisjoint(self.arguments("click"))

    def at_last_item(self) -> list[tuple[str, View]]:
        """Clicks since a product was last opened, each with its page."""
        clicks = [(argument, page) for name, argument, page in self.actions if name == "click"]
        starts = [place for place, (argument, _) in enumerate(clicks) if argument in self.offers]
        return clicks[starts[-1] + 1 :] if starts else []


def read_episode(trajectory: Trajectory) -> WebShopEpisode:
    """Parse an episode. Raises `ValueError` if it states no shopping task."""
    turns, shown = completed_turns(trajectory), initial_observation(trajectory)
    task = read_task(shown)
    actions = []
    page = read_page(shown)
    for turn in turns:
        actions.append((*parse_action(turn.action or ""), page))
        page = read_page(turn.observation)
    return WebShopEpisode(task, turns, tuple(actions), trajectory.outcome.scores)


def wrong_options(episode: WebShopEpisode) -> Iterator[str]:
    """Write a hint for each wanted option that was not chosen, or of which another value was."""
    clicks = episode.at_last_item()
    clicked = {argument for argument, _ in clicks}
    missing = [(name, value) for name, value in episode.task.options if value.lower() not in clicked]
    for name, value in missing if episode.bought else []:
        others = {other.lower() for _, page in clicks for other in page.options().get(name, ())}
        word = _OPTIONS.get(name, "{attribute}")
        if clicked & others:
            yield f"Choose exactly the {word} that is asked for and no other one."
        elif others and value.lower() not in others:
            yield f"Leave an {{item}} that does not offer the {word} that is asked for."
        else:
            yield f"Click the {word} that is asked for before you click buy now."


HINTS: Mapping[str, Callable[[WebShopEpisode], Iterable[str]]] = {
    # No search was made.
    "never_searched": lambda e: when(
        not any(e.arguments("search")), "First search for the {item} with the words of the instruction."
    ),
    # Products were found, but none was opened.
    "never_opened": lambda e: when(e.offers and not e.opened, "Open an {item} of the results: click its id."),
    # Products were opened, but none was bought.
    "never_bought": lambda e: when(
        e.opened and not e.bought, "Buy the {item} that fits best before your turns are used up."
    ),
    # The bought product has another product type.
    "wrong_product_type": lambda e: when(
        e.bought and e.scores.get("type", 1.0) < 1.0,
        "Open only an {item} whose title names the kind of goods that is asked for.",
    ),
    "wrong_options": wrong_options,
    # A product was bought although no page confirmed a wanted attribute.
    "unconfirmed_attribute": lambda e: when(
        e.bought
        and not all(any(page.contains(wanted) for _, page in e.at_last_item()) for wanted in e.task.attributes),
        "Buy an {item} only if its title or its features say the {attribute} that is asked for.",
    ),
    # The bought product is too expensive.
    "too_expensive": lambda e: when(
        e.bought and e.scores.get("price", 1.0) < 1.0,
        "Do not buy an {item} whose price is above the limit of the instruction.",
    ),
    # No search contained the product type and all attributes.
    "incomplete_query": lambda e: when(
        e.arguments("search")
        and not any(
            all(word.lower() in words for word in (e.task.product_type, *e.task.attributes))
            for words in e.arguments("search")
        ),
        "Search for the kind of {item} together with every {attribute} that is asked for.",
    ),
    # The agent clicked something that is not on the page.
    "not_on_page": lambda e: when(
        any(name == "click" and argument not in map(str.lower, page.parts) for name, argument, page in e.actions),
        "Click only what the {page} shows as a button, letter by letter.",
    ),
}
"""Rules by the mistake that they detect, the worst first."""


def names_of(episode: WebShopEpisode) -> Mapping[str, str]:
    """Names in this episode and their placeholders."""
    task = episode.task
    names = {task.product_type: "{item}", **dict.fromkeys(episode.offers, "{item}")}
    names |= dict.fromkeys(task.attributes, "{attribute}")
    names |= {value: _OPTIONS.get(name, "{attribute}") for name, value in task.options}
    return {name: put for name, put in names.items() if len(name) >= _LEAST_NAME}


RULES: RuleBook[WebShopEpisode] = RuleBook(
    read=read_episode,
    rules=(
        *HINTS.values(),
        lambda episode: repeated_without_effect(episode.turns),
        lambda episode: no_action(episode.turns),
    ),
    names=names_of,
    placeholders=("page", "item", "size", "color", "attribute", "material"),
)
