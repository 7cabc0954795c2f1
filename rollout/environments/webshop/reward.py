"""Reward of a purchase: type × share of matching attributes, options and price.

There are two rules. ``original`` is WebShop's with its quirks: colors are found as parts of words (``rectangular`` is
reduced to ``tan``), and a goal's options are compared as ``name value`` with a measure that ignores missing words, so
that a perfect purchase can score 0.8 and a wrong size 1. ``strict`` counts an option if and only if the option of that
name was bought with that value.

WebShop selects the nouns of a title with a tagger; here every word made of letters counts. This affects only products
other than the goal's own.

Source: Yao et al., WebShop, 2022, section 3 and appendix A.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rapidfuzz import fuzz
from rapidfuzz.utils import default_process

from rollout.environments.webshop.product import Goal, Product

RewardRule = Literal["original", "strict"]

COLORS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy "
    "camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral "
    "cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass "
    "gray green grey heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon "
    "mauve merlot midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter "
    "pink plum purple rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone "
    "stonewash sunflower tan taupe teal tiger turquoise violet walnut wheat white wine yellow"
).split()
"""Color names to which WebShop reduces option values, in the order of the tests."""

_FITS_ABOVE = 85
_LATIN_1 = dict.fromkeys(range(128, 256))
_WORD = re.compile(r"[^\W_]+(?:['’`´][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Reward:
    """A purchase's reward and its parts.

    Attributes:
        total: ``type * (attributes + options + price) / (wanted attributes + wanted options + 1)``, in [0, 1].
        type: match of the product type: 1, 0.5, 0.1 or 0.
        attributes: number of matching attributes.
        options: number of matching options.
        price: whether the price is within the limit.
        query_match: whether the product has the same query as the goal's product.
        category_match: whether the two category paths share two parts.
        title_score: share of the words of the goal's title in the product's title.
    """

    total: float
    type: float
    attributes: int
    options: int
    price: bool
    query_match: bool
    category_match: bool
    title_score: float

    @property
    def parts(self) -> dict[str, float]:
        """Parts of the total by name."""
        return {
            "type": self.type,
            "attributes": float(self.attributes),
            "options": float(self.options),
            "price": float(self.price),
        }


def reward_of(goal: Goal, bought: Product, price: float, options: Mapping[str, str], rule: RewardRule) -> Reward:
    """The reward for buying a product at ``price`` with the ``options`` chosen (name to value)."""
    query_match = bought.query == goal.product.query
    category_match = len(_parts(bought) & _parts(goal.product)) >= 2
    title_score = _title_score(bought.title, goal.product.title)
    kind = _type(query_match or category_match or title_score > 0.2, title_score)
    attributes = sum(_has_attribute(bought, wanted) for wanted in goal.attributes)
    count = _original_options if rule == "original" else _strict_options
    chosen = count(goal.options, options)
    affordable = price <= goal.price_upper
    share = (attributes + chosen + affordable) / (len(goal.attributes) + len(goal.options) + 1)
    return Reward(share * kind, kind, attributes, chosen, affordable, query_match, category_match, title_score)


def _parts(product: Product) -> set[str]:
    return {part.strip() for part in product.product_category.split("›")}


def _type(matches: bool, title_score: float) -> float:
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if matches else 0.5


@lru_cache(maxsize=4096)
def _nouns(title: str) -> tuple[str, ...]:
    """Words made of letters; the part after an apostrophe is dropped."""
    heads = (word.partition("'")[0].partition("’")[0] for word in _WORD.findall(title))
    return tuple(word.lower() for word in heads if word.isalpha())


def _title_score(bought: str, wanted: str) -> float:
    nouns = _nouns(wanted)
    return len({*_nouns(bought)} & {*nouns}) / len(nouns) if nouns else 0.2


def _processed(text: str) -> str:
    """Lower-case text with punctuation blanked and Latin-1 letters dropped, as thefuzz does."""
    return default_process(text.translate(_LATIN_1))


def _alike(a: str, b: str) -> bool:
    return round(fuzz.token_set_ratio(_processed(a), _processed(b))) > _FITS_ABOVE


def _has_attribute(bought: Product, wanted: str) -> bool:
    if any(_alike(attribute, wanted) for attribute in bought.attributes):
        return True
    texts = (bought.title, " ".join(bought.bullets), bought.description)
    return any(wanted in text.lower() for text in texts)


def _color(value: str) -> str:
    """The first color name that occurs in ``value``, else ``value``."""
    return next((color for color in COLORS if color in value), value)


def _original_options(wanted: Iterable[tuple[str | None, str]], options: Mapping[str, str]) -> int:
    bought = [_color(value) for value in options.values()]
    return sum(any(_alike(value, goal) for value in bought) for goal in map(_original_text, wanted))


def _original_text(pair: tuple[str | None, str]) -> str:
    """The text to which a goal's option is compared."""
    name, value = pair
    # WebShop searches the members of the pair for the color, and compares the pair as Python prints it.
    return _color(value) if name is None else next((color for color in COLORS if color in pair), str(pair))


def _strict_options(wanted: Iterable[tuple[str | None, str]], options: Mapping[str, str]) -> int:
    return sum(
        options.get(name) == value if name is not None else any(_alike(bought, value) for bought in options.values())
        for name, value in wanted
    )
