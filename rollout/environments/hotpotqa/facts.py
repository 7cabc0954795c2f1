"""Facts of a generated wiki: kinds of entities, their facts, and the sentences and questions about facts.

A fact is a function: each entity has at most one value of it, which is the name of another entity, a word or a number.
The entity's page contains the fact's sentence; a chain names the fact by its noun (``the author of the book ...``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Fact:
    """A fact that every entity of a kind has.

    Attributes:
        kind: kind of entity.
        noun: name of the fact in chains; kinds that share a noun share its sentence.
        sentence: template with ``{n}`` for the entity and ``{v}`` for the value.
        keyword: words of the sentence that a reader looks up.
        question: question template with ``{d}`` for a description of the entity.
        leads_to: kind of entity that the value names; empty for words and numbers.
        words: possible values, if they are words.
        numbers: smallest and greatest value, if they are numbers.
        comparisons: for numbers, questions which of ``{a}`` and ``{b}`` has the smaller and which the greater one.
        same: question whether ``{a}`` and ``{b}`` have the same value; empty if it is not asked.
    """

    kind: str
    noun: str
    sentence: str
    keyword: str
    question: str
    leads_to: str = ""
    words: Sequence[str] = ()
    numbers: tuple[int, int] = (0, 0)
    comparisons: tuple[str, str] = ("", "")
    same: str = ""

    @property
    def key(self) -> str:
        """Unique name, used to identify held-out combinations."""
        return f"{self.kind}.{self.noun}"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Pattern that parses the sentence without its full stop."""
        text = re.escape(self.sentence.removesuffix("."))
        return re.compile(text.replace(r"\{n\}", "(?P<n>.+)").replace(r"\{v\}", "(?P<v>.+)"))


@dataclass(slots=True)
class Entity:
    """The subject of a page. ``title`` is its name, followed by its kind if other entities share the name.

    Attributes:
        facts: values by the noun of the fact.
        links: entities that values name, by the noun of the fact.
    """

    kind: str
    name: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)
    links: dict[str, Entity] = field(default_factory=dict)


_YEARS = (1500, 1999)
_EARLIER = "Which {kind} opened earlier, {{a}} or {{b}}?"
_LATER = "Which {kind} opened later, {{a}} or {{b}}?"


def _opening(kind: str) -> Fact:
    return Fact(
        kind,
        "opening year",
        "{n} opened in {v}.",
        "opened",
        "In which year did {d} open?",
        numbers=_YEARS,
        comparisons=(_EARLIER.format(kind=kind), _LATER.format(kind=kind)),
    )


FACTS: Mapping[str, tuple[Fact, ...]] = {
    "person": (
        Fact(
            "person",
            "occupation",
            "{n} was a {v}.",
            "was a",
            "What was the occupation of {d}?",
            words="botanist painter composer printer sailor surgeon weaver judge baker poet farmer clockmaker".split(),
        ),
        Fact(
            "person",
            "birth year",
            "{n} was born in {v}.",
            "born",
            "In which year was {d} born?",
            numbers=_YEARS,
            comparisons=("Who was born earlier, {a} or {b}?", "Who was born later, {a} or {b}?"),
        ),
        Fact(
            "person",
            "home town",
            "{n} grew up in the town of {v}.",
            "grew up",
            "In which town did {d} grow up?",
            leads_to="town",
            same="Did {a} and {b} grow up in the same town?",
        ),
        Fact(
            "person",
            "teacher",
            "{n} was taught by {v}.",
            "taught by",
            "Who taught {d}?",
            leads_to="person",
            same="Did {a} and {b} have the same teacher?",
        ),
        Fact("person", "spouse", "{n} was married to {v}.", "married", "Who was married to {d}?", leads_to="person"),
    ),
    "town": (
        Fact(
            "town",
            "region",
            "{n} is a town in the region of {v}.",
            "region",
            "In which region is {d}?",
            leads_to="region",
            same="Are the towns {a} and {b} in the same region?",
        ),
        Fact(
            "town",
            "river",
            "{n} lies on the river {v}.",
            "lies on",
            "On which river does {d} lie?",
            leads_to="river",
            same="Do the towns {a} and {b} lie on the same river?",
        ),
        Fact(
            "town",
            "population",
            "{n} has a population of {v}.",
            "population",
            "How many people live in {d}?",
            numbers=(1000, 9999),
            comparisons=("Which town has fewer people, {a} or {b}?", "Which town has more people, {a} or {b}?"),
        ),
        Fact(
            "town",
            "founding year",
            "{n} was founded in {v}.",
            "founded",
            "In which year was {d} founded?",
            numbers=_YEARS,
            comparisons=("Which town was founded earlier, {a} or {b}?", "Which town was founded later, {a} or {b}?"),
        ),
        Fact("town", "mayor", "The mayor of {n} is {v}.", "mayor", "Who is the head of {d}?", leads_to="person"),
        Fact(
            "town",
            "trade",
            "{n} is known for its {v}.",
            "known for",
            "Which goods is {d} known for?",
            words="lace cheese glass bells rope honey salt ink cider candles".split(),
        ),
    ),
    "river": (
        Fact(
            "river",
            "source",
            "{n} is a river that rises in the region of {v}.",
            "rises",
            "In which region does {d} rise?",
            leads_to="region",
            same="Do the rivers {a} and {b} rise in the same region?",
        ),
        Fact(
            "river",
            "length",
            "{n} is {v} kilometres long.",
            "kilometres",
            "How many kilometres long is {d}?",
            numbers=(100, 999),
            comparisons=("Which river is shorter, {a} or {b}?", "Which river is longer, {a} or {b}?"),
        ),
        Fact(
            "river", "explorer", "{n} was first mapped by {v}.", "mapped by", "Who first mapped {d}?", leads_to="person"
        ),
        Fact(
            "river",
            "fish",
            "{n} is full of {v}.",
            "full of",
            "Which fish is {d} full of?",
            words="trout eels carp salmon perch pike bream".split(),
        ),
    ),
    "region": (
        Fact(
            "region",
            "language",
            "{n} is a region where people speak {v}.",
            "speak",
            "Which language is spoken in {d}?",
            words="Tazorish Korrish Valmic Drennish Ollish Ferric Jullic Munnish".split(),
            same="Do people speak the same language in the regions {a} and {b}?",
        ),
        Fact(
            "region",
            "capital",
            "The capital of {n} is the town of {v}.",
            "capital",
            "Which town governs {d}?",
            leads_to="town",
        ),
        Fact(
            "region",
            "area",
            "{n} covers {v} square kilometres.",
            "square",
            "How many square kilometres does {d} cover?",
            numbers=(1000, 9999),
            comparisons=("Which region is smaller, {a} or {b}?", "Which region is larger, {a} or {b}?"),
        ),
    ),
    "company": (
        Fact(
            "company",
            "product",
            "{n} is a company that makes {v}.",
            "makes",
            "What does {d} make?",
            words="bicycles paper boots lamps soap carpets barrels pianos ploughs umbrellas".split(),
        ),
        Fact("company", "founder", "{n} was set up by {v}.", "set up", "Who set up {d}?", leads_to="person"),
        Fact(
            "company",
            "head office",
            "{n} has its head office in the town of {v}.",
            "head office",
            "In which town is {d}?",
            leads_to="town",
            same="Do the companies {a} and {b} have their head office in the same town?",
        ),
        _opening("company"),
    ),
    "book": (
        Fact(
            "book",
            "subject",
            "{n} is a book about {v}.",
            "about",
            "What is {d} about?",
            words="beekeeping shipwrecks chess volcanoes owls comets mushrooms lighthouses glaciers masks".split(),
        ),
        Fact(
            "book",
            "author",
            "{n} was written by {v}.",
            "written by",
            "Who wrote {d}?",
            leads_to="person",
            same="Were the books {a} and {b} written by the same person?",
        ),
        Fact(
            "book",
            "publisher",
            "{n} was printed by the company {v}.",
            "printed by",
            "Which company printed {d}?",
            leads_to="company",
            same="Were the books {a} and {b} printed by the same company?",
        ),
        Fact(
            "book",
            "publication year",
            "{n} was published in {v}.",
            "published",
            "In which year was {d} published?",
            numbers=_YEARS,
            comparisons=(
                "Which book was published earlier, {a} or {b}?",
                "Which book was published later, {a} or {b}?",
            ),
        ),
    ),
    "bridge": (
        Fact(
            "bridge",
            "water",
            "{n} is a bridge over the river {v}.",
            "over",
            "Which river does {d} cross?",
            leads_to="river",
            same="Do the bridges {a} and {b} cross the same river?",
        ),
        Fact("bridge", "designer", "{n} was designed by {v}.", "designed by", "Who designed {d}?", leads_to="person"),
        Fact(
            "bridge",
            "material",
            "{n} is built of {v}.",
            "built of",
            "What is {d} built of?",
            words="granite oak iron brick steel sandstone concrete".split(),
        ),
        _opening("bridge"),
    ),
    "museum": (
        Fact(
            "museum",
            "place",
            "{n} is a museum in the town of {v}.",
            "museum in",
            "In which town does {d} stand?",
            leads_to="town",
            same="Do the museums {a} and {b} stand in the same town?",
        ),
        Fact("museum", "director", "{n} is run by {v}.", "run by", "Who runs {d}?", leads_to="person"),
        Fact(
            "museum",
            "collection",
            "{n} shows {v}.",
            "shows",
            "What does {d} show?",
            words="coins fossils puppets maps kites armour violins stamps butterflies clocks".split(),
        ),
        _opening("museum"),
    ),
}
"""Facts by kind; the first one is the first sentence of the page."""

REMARKS: Mapping[str, Sequence[str]] = {
    "person": ("{n} kept a long diary.", "Few letters of {n} are left.", "{n} liked to walk at night."),
    "town": ("{n} holds a fair in spring.", "The streets of {n} are narrow.", "{n} has an old wall."),
    "river": ("{n} freezes in hard winters.", "Small boats use {n} in summer.", "{n} has many bends."),
    "region": ("{n} has mild summers.", "Many hills of {n} are bare.", "{n} has its own flag."),
    "company": ("{n} has a band of its own.", "{n} hires in autumn.", "A fire once stopped {n}."),
    "book": ("{n} sold slowly at first.", "{n} has a blue cover.", "Readers of {n} were divided."),
    "bridge": ("{n} is lit at night.", "Carts pay to use {n}.", "{n} sways in the wind."),
    "museum": ("{n} is closed on Mondays.", "{n} has a small garden.", "School classes like {n}."),
}
"""Filler sentences that state no fact."""
