"""Parsing of generated questions and observations by the scripted policies."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rollout.environments.hotpotqa.facts import FACTS, Fact
from rollout.environments.hotpotqa.wiki import NO_MORE_RESULTS

_QUESTION = re.compile(r"^Question: (?P<text>.+)$", re.MULTILINE)
_ALL = tuple(fact for facts in FACTS.values() for fact in facts)
_SENTENCE_END = re.compile(r"\.+(?:\s+|$)")
_RESULT = re.compile(r"\(Result \d+ / \d+\) ")
_NOT_FOUND = re.compile(r"Could not find .*\. Similar: (?P<titles>\[.*\])\.", re.DOTALL)
_KIND = re.compile(r" \([a-z]+\)$")
"""The kind in brackets after the name in a title."""
_START = re.compile(rf"the (?P<kind>{'|'.join(FACTS)}) (?P<name>.+)")
_REGULAR = re.compile(r"(?:What|Who) is (?P<d>the .+ of .+)\?")


@dataclass(frozen=True, slots=True)
class BridgeQuestion:
    """A chain of facts: ``facts[0]`` of the entity ``start``, ``facts[1]`` of the entity that this value names, etc."""

    start: str
    facts: tuple[Fact, ...]

    def goal(self) -> str:
        """``the occupation of the author of The Fadell Mirror``."""
        return "".join(f"the {fact.noun} of " for fact in reversed(self.facts)) + self.start


@dataclass(frozen=True, slots=True)
class ComparisonQuestion:
    """A comparison of two entities: which has the smaller or greater number, or whether both have the same value."""

    one: str
    other: str
    fact: Fact
    wanted: str
    """``smaller``, ``greater`` or ``same``."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts that the answer depends on."""
        return (self.fact,)

    def goal(self) -> str:
        """``the smaller length of Black Wivorn and Long Noreth``."""
        return f"the {self.wanted} {self.fact.noun} of {self.one} and {self.other}"


ParsedQuestion = BridgeQuestion | ComparisonQuestion


def read_question(observation: str) -> ParsedQuestion:
    """Parse the question in the first observation. Raises `ValueError` if it is not a generated question."""
    match = _QUESTION.search(observation)
    text = match["text"].strip() if match else ""
    found = _pair(text) or _chain(text)
    if found is None:
        raise ValueError(f"this is not a generated question: {text or observation!r}")
    return found


def _pair(text: str) -> ComparisonQuestion | None:
    for fact in _ALL:
        for wanted, wording in zip(("smaller", "greater", "same"), (*fact.comparisons, fact.same), strict=True):
            if wording and (match := _pattern(wording).fullmatch(text)):
                return ComparisonQuestion(match["a"], match["b"], fact, wanted)
    return None


def _chain(text: str) -> BridgeQuestion | None:
    regular = _REGULAR.fullmatch(text)
    if regular and (chain := _described(regular["d"])):
        return chain
    for fact in _ALL:
        match = _pattern(fact.question).fullmatch(text)
        described = _described(match["d"]) if match else None
        if described and described.facts[-1].leads_to == fact.kind:
            return BridgeQuestion(described.start, (*described.facts, fact))
    return None


def _described(text: str) -> BridgeQuestion | None:
    """Parse a chain such as ``the author of the book X``; None if its nouns do not fit together."""
    *nouns, last = text.split(" of ")
    start = _START.fullmatch(last)
    kind, name = (start["kind"], start["name"]) if start else ("person", last)
    facts: list[Fact] = []
    for noun in reversed(nouns):
        fact = next((f for f in FACTS.get(kind, ()) if f"the {f.noun}" == noun), None)
        if fact is None:
            return None
        facts.append(fact)
        kind = fact.leads_to
    return BridgeQuestion(name, tuple(facts)) if facts else None


def _pattern(wording: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{([abd])\\\}", r"(?P<\1>.+)", re.escape(wording)))


@dataclass(slots=True)
class BeliefState:
    """Knowledge from what has been read: facts, names, the open page, and similar titles.

    Attributes:
        facts: values by (name of the entity, noun of the fact).
        names: kinds of entities by name, in the order in which they were read.
        page: name that the open page was searched by; None at first.
        offered: similar titles listed by the last search, if it found no page.
        exhausted: whether the last lookup had no more results.
    """

    facts: dict[tuple[str, str], str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    page: str | None = None
    offered: Sequence[str] = ()
    exhausted: bool = False

    def begin(self, question: ParsedQuestion) -> None:
        """Add the names in the question."""
        if isinstance(question, BridgeQuestion):
            self.names[question.start] = question.facts[0].kind
        else:
            self.names.update({question.one: question.fact.kind, question.other: question.fact.kind})

    def read(self, action: str, observation: str) -> None:
        """Update the state from an action and its observation."""
        missing = _NOT_FOUND.fullmatch(observation.strip())
        self.offered = ast.literal_eval(missing["titles"]) if missing else ()
        self.exhausted = observation == NO_MORE_RESULTS
        if action.startswith("search[") and not missing:
            self.page = _KIND.sub("", action[len("search[") : -1])
        for sentence in _SENTENCE_END.split(_RESULT.sub("", observation)):
            self._read_sentence(sentence)

    def _read_sentence(self, sentence: str) -> None:
        for fact in _ALL:
            if match := fact.pattern.fullmatch(sentence):
                self.facts[match["n"], fact.noun] = match["v"]
                if fact.leads_to:
                    self.names.setdefault(match["v"], fact.leads_to)
                return


def fact_sentence(noun: str, name: str, value: str) -> str:
    """A fact as a sentence of a thought."""
    return f"The {noun} of {name} is {value}."
