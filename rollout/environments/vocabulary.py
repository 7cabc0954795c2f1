"""The languages of the worlds as the shipped models write them: where words end, and which words there are.

A name has to be copied from where it was read, and a tiny model copies best what is written alike wherever it stands.
So a language names words that take the space behind them along (``search[Old Mill]``, ``of Old Mill``): what follows
them begins without a space, and a name is the same tokens after a bracket, at the start of a text and within one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rollout.environments.hotpotqa.demonstrations import TOOLS as ENCYCLOPAEDIA_TOOLS
from rollout.environments.hotpotqa.facts import FACTS
from rollout.environments.hotpotqa.names import FIRST_NAMES, LAST_NAMES, PATTERNS, PLACES
from rollout.environments.household.catalogue import NOUNS, ROOMS
from rollout.environments.math.demonstrations import TOOLS as MATHS_TOOLS
from rollout.environments.math.stories import COUNTED, GOODS, NAMES, VEHICLES
from rollout.environments.webshop.pages import done_page
from rollout.environments.webshop.vocabulary import OPTIONS, SORTS, SYLLABLES
from rollout.prompts import codeact, cot

MARKS = ("Thought: ", "\nAction: ")


@dataclass(frozen=True, slots=True)
class Language:
    """How the texts of a world fall into words.

    Attributes:
        pattern: what a word is; tried from where the last one ended.
        delimiters: marks of a turn, each one token.
        merged: words are put together from pairs of letters (byte-pair encoding), so that unknown ones have parts too;
            else a word is one token or as many as it has bytes, and no token is spent on parts.
        settings: of the environment where words are heard.
        words: gives those that belong to the language whether or not they are heard in play.
    """

    pattern: str
    delimiters: tuple[str, ...] = MARKS
    merged: bool = False
    settings: Mapping[str, str | int] = field(default_factory=dict)
    words: Callable[[], Iterable[str]] = tuple


def _pattern(before: str, first: str = "") -> str:
    """Words, numbers of two digits, and marks.

    Args:
        before: the words that take the space behind them along.
        first: what goes before all words.
    """
    return rf"{first} ?(?:{before}) | ?[A-Za-z]+(?: (?=[0-9]))?|[0-9]{{1,2}}| ?[^\sA-Za-z0-9]+ ?|\s+"


def _said(tools: Iterable[codeact.Tool]) -> tuple[str, ...]:
    """What episodes of code and of chains of thought say over and over; each is one token."""
    text = codeact.error("ERROR", "PRINTED") + codeact.observation("PRINTED")
    phrases = [*re.split("ERROR|PRINTED", text), *re.split("THOUGHT|CODE", codeact.turn_text("THOUGHT", "CODE"))]
    phrases += [*re.split("STEPS|ANSWER", cot.written("STEPS", "ANSWER")), "\n\n", *_CALLS]
    phrases += [part for text in (codeact.form(tuple(tools)), cot.FORM) for part in text.split("Thought: ")]
    phrases += [f'print({tool.name}("' for tool in tools]
    kept = {phrase for phrase in phrases if phrase not in ("", "\n")}
    return tuple(sorted(kept, key=lambda phrase: (-len(phrase), phrase)))


_CALLS = ('final_answer("', '"))', '")', 'print(f"{', ':.10g}")', "print(")


def _any_of(phrases: Iterable[str]) -> str:
    """Goes before the other words of a pattern."""
    return "".join(f"{re.escape(phrase)}|" for phrase in phrases)


def _numbers() -> list[str]:
    return [*map(str, range(100)), *(f"0{digit}" for digit in range(10))]


def _household() -> list[str]:
    names = (*NOUNS, *(kind for room in ROOMS.values() for kind in room.full), *range(31))
    return [" hot cold cool clean sliced", *(f" {name}" for name in names)]


def _hotpotqa() -> list[str]:
    names = [*FIRST_NAMES, *LAST_NAMES, *PLACES, *(w for words in PATTERNS.values() for part in words for w in part)]
    values = [word for facts in FACTS.values() for fact in facts for word in fact.words]
    return [*_anywhere(names), *values, *_numbers(), *_said(ENCYCLOPAEDIA_TOOLS)]


def _maths() -> list[str]:
    return [*_anywhere([*NAMES, *COUNTED, *GOODS, *VEHICLES]), *_numbers(), *_said(MATHS_TOOLS)]


def _webshop() -> list[str]:
    goods = [text for sort in SORTS for text in (sort.name, *sort.attributes, *sort.options)]
    values = [value for values in OPTIONS.values() for value in values]
    starts, middles, ends = SYLLABLES
    brands = [
        f"{start.capitalize()}{middle}{end}{mark}"
        for start in starts
        for middle in middles
        for end in ends
        for mark in " ."
    ]
    return [*goods, *values, *brands, *_numbers()]


def _anywhere(words: Iterable[str]) -> list[str]:
    """Words as they stand at the beginning of a name and within it."""
    return [text for word in words for text in (word, f" {word}")]


_STARTS, _MIDDLES, _ENDS = ("|".join(part) for part in SYLLABLES)
_BRAND = (
    rf"(?:{_STARTS.title()})(?=(?:{_MIDDLES})(?:{_ENDS})(?![a-z]))|(?:{_MIDDLES})(?=(?:{_ENDS})(?![a-z]))|"
    rf"(?:{_ENDS})(?![a-z]) ?|"
)
"""A brand's three parts: a few dozen tokens for thousands of names."""
_DONE = done_page("ASIN", {}, 0.5, "").text("text", frozenset())
_PHRASES = (
    *(text.strip() for text in re.split(r"ASIN|\{\}|0\.5", _DONE)),
    "[SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now",
    "[SEP] Back to Search [SEP]",
    "[SEP]",
)
"""What the shop's pages say over and over."""

LANGUAGES: Mapping[str, Language] = {
    "household": Language(
        r" ?[A-Za-z]+| ?\d{1,2}| ?[^\sA-Za-z\d]+|\s+(?!\S)|\s+",
        ("Thought:", "\nAction:"),
        True,
        {"size": "full"},
        _household,
    ),
    "hotpotqa": Language(
        _pattern(
            "a|an|and|by|did|do|does|for|in|is|its|like|of|or|search|stopped|the|to|up|use|was|"
            "A|Are|Did|Do|I|In|It|Was|Were|What|Who|"
            "persons?|towns?|rivers?|regions?|company|companies|books?|bridges?|museums?",
            _any_of(_said(ENCYCLOPAEDIA_TOOLS)),
        ),
        words=_hotpotqa,
    ),
    "math": Language(_pattern("I|does|do|and|than|as", _any_of(_said(MATHS_TOOLS))), words=_maths),
    "webshop": Language(
        _pattern(
            "a|an|and|by|choose|costs|for|in|is|need|of|say|says|than|that|the|with|[A-Z][A-Za-z]*",
            "".join(f" ?{re.escape(text)} ?|" for text in _PHRASES) + _BRAND,
        ),
        settings={"observation": "text"},
        words=_webshop,
    ),
}
"""By the name of their world."""
