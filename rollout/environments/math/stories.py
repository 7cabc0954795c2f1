"""Sentences of word problems: five families of stories, each with an opening, steps and questions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from rollout.environments.math.sentences import Sentence

NAMES = "Ann Ben Cora Dan Eva Finn Gus Hana Ivo June Kai Lea Max Nora Omar Pia".split()
COUNTED = "apples pens shells stamps coins cards beads plums nuts leaves".split()
GOODS = "pens cups lamps books plates ropes bells brushes".split()
VEHICLES = "train bus ship truck tram".split()


@dataclass(frozen=True)
class Family:
    """A family of stories.

    Attributes:
        things: possible names of the counted things.
        opening: first sentences; the person, thing and vehicle of the story fill their slots.
        steps: sentences of possible steps, by name.
        questions: questions by name; each has one or more sentences, and the last one is the question.
    """

    things: Sequence[str]
    opening: tuple[Sentence, ...]
    steps: Mapping[str, Sentence]
    questions: Mapping[str, tuple[Sentence, ...]]


_HAS = "{p} has"
_BILL = "the bill is"
_WAY = "the {v} has driven"
_PAID = "the money is"

FAMILIES: Mapping[str, Family] = {
    "collection": Family(
        COUNTED,
        (Sentence("{p} has {a:5:60} {t}.", _HAS, "{a}"),),
        {
            "find": Sentence("{p} finds {a:2:30} more {t}.", _HAS, "[{p} has] + {a}"),
            "lose": Sentence("{p} loses {a:2:30} {t}.", _HAS, "[{p} has] - {a}"),
            "give": Sentence("{p} gives {a:2:9} {t} to each of {b:2:5} friends.", _HAS, "[{p} has] - {a} * {b}"),
            "bags": Sentence("{p} buys {a:2:6} bags with {b:2:12} {t} in each.", _HAS, "[{p} has] + {a} * {b}"),
            "times": Sentence("{p} swaps them for {a:2:4} times as many {t}.", _HAS, "[{p} has] * {a}"),
            "share": Sentence("{p} fills {a:2:6} equal boxes and keeps one of them.", _HAS, "[{p} has] / {a}"),
        },
        {"now": (Sentence("How many {t} does {p} have now?", "", "[{p} has]"),)},
    ),
    "shopping": Family(
        GOODS,
        (),  # the prices are drawn for each problem
        {
            "buy": Sentence("{p} buys {a:2:9} {t}.", _BILL, "[the bill is] + {a} * [the {t} cost]"),
            "gift": Sentence("{p} buys a gift for {a:3:40} dollars.", _BILL, "[the bill is] + {a}"),
            "coupon": Sentence("A coupon takes {a:2:20} dollars off the bill.", _BILL, "[the bill is] - {a}"),
            "percent": Sentence(
                "The shop takes {a:10:50:10} percent off the bill.", _BILL, "[the bill is] - [the bill is] * {a} / 100"
            ),
        },
        {
            "bill": (Sentence("How many dollars is the bill?", "", "[the bill is]"),),
            "back": (
                Sentence("{p} pays with {a:50:400:50} dollars.", "{p} pays", "{a}"),
                Sentence("How many dollars does {p} get back?", "", "[{p} pays] - [the bill is]"),
            ),
        },
    ),
    "journey": Family(
        COUNTED,
        (),
        {
            "ride": Sentence(
                "The {v} drives {a:2:6} hours at {b:20:90:5} kilometers an hour.", _WAY, f"[{_WAY}] + {{a}} * {{b}}"
            ),
            "on": Sentence("The {v} drives {a:5:80} kilometers more.", _WAY, f"[{_WAY}] + {{a}}"),
            "stops": Sentence(
                "The {v} passes {a:3:9} stops, each {b:4:20} kilometers on.",
                _WAY,
                f"[{_WAY}] + {{a}} * {{b}}",
            ),
            "again": Sentence("The {v} drives all of this {a:2:4} times.", _WAY, f"[{_WAY}] * {{a}}"),
        },
        {
            "driven": (Sentence("How many kilometers has the {v} driven?", "", f"[{_WAY}]"),),
            "left": (
                Sentence("The whole way is {a:200:1500:50} kilometers.", "the whole way is", "{a}"),
                Sentence("How many kilometers are left for the {v}?", "", f"[the whole way is] - [{_WAY}]"),
            ),
        },
    ),
    "wages": Family(
        "food rent tickets shoes fuel".split(),
        (Sentence("{p} earns {a:8:25} dollars an hour.", "an hour gives", "{a}"),),
        {
            "day": Sentence("{p} works {a:2:9} hours.", _PAID, f"[{_PAID}] + {{a}} * [an hour gives]"),
            "week": Sentence(
                "{p} works {a:2:5} days of {b:3:8} hours.", _PAID, f"[{_PAID}] + {{a}} * {{b}} * [an hour gives]"
            ),
            "tip": Sentence("{p} gets a tip of {a:2:40} dollars.", _PAID, f"[{_PAID}] + {{a}}"),
            "spend": Sentence("{p} spends {a:5:60} dollars on {t}.", _PAID, f"[{_PAID}] - {{a}}"),
            "tax": Sentence("A tax of {a:10:30:10} percent is taken.", _PAID, f"[{_PAID}] - [{_PAID}] * {{a}} / 100"),
        },
        {
            "earned": (Sentence("How many dollars are left for {p}?", "", f"[{_PAID}]"),),
            "missing": (
                Sentence("{p} wants a bike for {a:200:900:50} dollars.", "the bike costs", "{a}"),
                Sentence("How many dollars does {p} still need?", "", f"[the bike costs] - [{_PAID}]"),
            ),
        },
    ),
    "comparison": Family(
        COUNTED,
        (Sentence("{p} has {a:5:60} {t}.", _HAS, "{a}"),),
        {
            "more": Sentence("{q} has {a:2:30} more {t} than {p}.", "{q} has", "[{p} has] + {a}"),
            "fewer": Sentence("{q} has {a:2:30} fewer {t} than {p}.", "{q} has", "[{p} has] - {a}"),
            "times": Sentence("{q} has {a:2:5} times as many {t} as {p}.", "{q} has", "[{p} has] * {a}"),
            "half": Sentence("{q} has half as many {t} as {p}.", "{q} has", "[{p} has] / 2"),
        },
        {
            "last": (Sentence("How many {t} does {q} have?", "", "[{q} has]"),),
            "together": (Sentence("How many {t} do {q} and {p} have together?", "", "[{q} has] + [{p} has]"),),
            "ahead": (Sentence("How many more {t} does {q} have than {p}?", "", "[{q} has] - [{p} has]"),),
        },
    ),
}

PRICE = Sentence("The {t} cost {a:2:15} dollars each.", "the {t} cost", "{a}")
DISTRACTORS = (
    Sentence("{p} is {a:8:70} years old."),
    Sentence("It is {a:5:30} degrees warm."),
    Sentence("There are {a:3:40} birds on the roof."),
    Sentence("The street has {a:4:60} houses."),
    Sentence("{p} woke up at {a:5:9} in the morning."),
)


_END = re.compile(r"(?<=[.?])\s+")

ParsedSentence = tuple[str, Sentence, dict[str, str]]
"""Text of a sentence, its template, and its slots."""


def read_story(text: str) -> list[ParsedSentence]:
    """Parse the sentences of a word problem. Raises `ValueError` for a sentence that matches no template."""
    return [(words, *_read(words)) for words in _END.split(text)]


def _read(words: str) -> tuple[Sentence, dict[str, str]]:
    for sentence in sentences():
        if (slots := sentence.read(words)) is not None:
            return sentence, slots
    raise ValueError(f"this is not a sentence of a generated math problem: {words!r}")


@cache
def sentences() -> list[Sentence]:
    """Templates of all sentences that a word problem may contain."""
    return [
        *(s for f in FAMILIES.values() for s in (*f.opening, *f.steps.values(), *sum(f.questions.values(), ()))),
        PRICE,
        *DISTRACTORS,
    ]
