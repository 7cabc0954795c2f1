"""Hint rules for failed WebShop episodes; they read pages, actions and the scores of the purchase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollout.environments.webshop.belief_state import ParsedTask, View, read_page, read_task
from rollout.environments.webshop.pages import BUY
from rollout.environments.webshop.session import parse_action
from rollout.hints.rules import RuleBook, no_action, repeated_without_effect
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

    @property
    def bought(self) -> bool:
        return any(name == "click" and argument == BUY.lower() for name, argument, _ in self.actions)

    @property
    def offers(self) -> frozenset[str]:
        """Ids of all products in the results, in lower case."""
        return frozenset(offer.asin.lower() for _, _, page in self.actions for offer in page.offers)

    @property
    def opened(self) -> bool:
        return any(argument in self.offers for name, argument, _ in self.actions if name == "click")

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
    page = read_page(shown.rpartition("\nYour task is to: ")[0] or shown)
    for turn in turns:
        actions.append((*parse_action(turn.action or ""), page))
        page = read_page(turn.observation)
    return WebShopEpisode(task, turns, tuple(actions), trajectory.outcome.scores)


# Rules. Each detects one mistake.


def never_searched(episode: WebShopEpisode) -> Iterator[str]:
    """No search was made."""
    if not any(name == "search" and argument for name, argument, _ in episode.actions):
        yield "First search for the {item} with the words of the instruction."


def never_opened(episode: WebShopEpisode) -> Iterator[str]:
    """Products were found, but none was opened."""
    if episode.offers and not episode.opened:
        yield "Open an {item} of the results: click its id."


def never_bought(episode: WebShopEpisode) -> Iterator[str]:
    """Products were opened, but none was bought."""
    if episode.opened and not episode.bought:
        yield "Buy the {item} that fits best before your turns are used up."


def wrong_product_type(episode: WebShopEpisode) -> Iterator[str]:
    """The bought product has another product type."""
    if episode.bought and episode.scores.get("type", 1.0) < 1.0:
        yield "Open only an {item} whose title names the kind of goods that is asked for."


def too_expensive(episode: WebShopEpisode) -> Iterator[str]:
    """The bought product is too expensive."""
    if episode.bought and episode.scores.get("price", 1.0) < 1.0:
        yield "Do not buy an {item} whose price is above the limit of the instruction."


def wrong_options(episode: WebShopEpisode) -> Iterator[str]:
    """A wanted option was not chosen, or another value of it was."""
    if not episode.bought:
        return
    clicks = episode.at_last_item()
    clicked = {argument for argument, _ in clicks}
    for name, value in episode.task.options:
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


def unconfirmed_attribute(episode: WebShopEpisode) -> Iterator[str]:
    """A product was bought although no page confirmed a wanted attribute."""
    pages = [page for _, page in episode.at_last_item()]
    if episode.bought and any(not any(page.contains(wanted) for page in pages) for wanted in episode.task.attributes):
        yield "Buy an {item} only if its title or its features say the {attribute} that is asked for."


def incomplete_query(episode: WebShopEpisode) -> Iterator[str]:
    """No search contained the product type and all attributes."""
    wanted = [episode.task.product_type, *episode.task.attributes]
    searches = [argument for name, argument, _ in episode.actions if name == "search"]
    if searches and not any(all(word.lower() in words for word in wanted) for words in searches):
        yield "Search for the kind of {item} together with every {attribute} that is asked for."


def not_on_page(episode: WebShopEpisode) -> Iterator[str]:
    """The agent clicked something that is not on the page."""
    for name, argument, page in episode.actions:
        parts = {part.lower() for part in page.parts}
        if name == "click" and argument not in parts:
            yield "Click only what the {page} shows as a button, letter by letter."
            return


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
        never_searched,
        never_opened,
        never_bought,
        wrong_product_type,
        wrong_options,
        unconfirmed_attribute,
        too_expensive,
        incomplete_query,
        not_on_page,
        lambda episode: repeated_without_effect(episode.turns),
        lambda episode: no_action(episode.turns),
    ),
    names=names_of,
    placeholders=("page", "item", "size", "color", "attribute", "material"),
)
