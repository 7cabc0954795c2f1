"""Tokenizer vocabulary of WebShop."""

from __future__ import annotations

import re

from rollout.environments.vocabulary import Vocabulary, numbers, word_pattern
from rollout.environments.webshop.goods import OPTIONS, PRODUCT_TYPES, SYLLABLES
from rollout.environments.webshop.pages import done_page


def _words() -> list[str]:
    goods = [
        text
        for product_type in PRODUCT_TYPES
        for text in (product_type.name, *product_type.attributes, *product_type.options)
    ]
    values = [value for values in OPTIONS.values() for value in values]
    starts, middles, ends = SYLLABLES
    brands = [
        f"{start.capitalize()}{middle}{end}{mark}"
        for start in starts
        for middle in middles
        for end in ends
        for mark in " ."
    ]
    return [*goods, *values, *brands, *numbers()]


_STARTS, _MIDDLES, _ENDS = ("|".join(part) for part in SYLLABLES)
_BRAND = (
    rf"(?:{_STARTS.title()})(?=(?:{_MIDDLES})(?:{_ENDS})(?![a-z]))|(?:{_MIDDLES})(?=(?:{_ENDS})(?![a-z]))|"
    rf"(?:{_ENDS})(?![a-z]) ?|"
)
"""The three parts of a brand name: a few dozen tokens for thousands of names."""
_DONE = done_page("ASIN", {}, 0.5, "").text("text", frozenset())
_PHRASES = (
    *(text.strip() for text in re.split(r"ASIN|\{\}|0\.5", _DONE)),
    "[SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now",
    "[SEP] Back to Search [SEP]",
    "[SEP]",
)
"""Frequent phrases of the pages."""

VOCABULARY = Vocabulary(
    word_pattern(
        "a|an|and|by|choose|costs|for|in|is|need|of|say|says|than|that|the|with|[A-Z][A-Za-z]*",
        "".join(f" ?{re.escape(text)} ?|" for text in _PHRASES) + _BRAND,
    ),
    settings={"observation": "text"},
    words=_words,
)
