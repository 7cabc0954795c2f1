"""What players understand of a generated encyclopaedia: the question asked, and what they have read so far."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.environments.hotpotqa.facts import FACTS, Fact
from rollout.environments.hotpotqa.wiki import NO_MORE_RESULTS

_QUESTION = re.compile(r"^Question: (?P<text>.+)$", re.MULTILINE)
_ALL = tuple(fact for facts in FACTS.values() for fact in facts)
_SENTENCE_END = re.compile(r"\.+(?:\s+|$)")
_RESULT = re.compile(r"\(Result \d+ / \d+\) ")
_NOT_FOUND = re.compile(r"Could not find .*\. Similar: (?P<titles>\[.*\])\.", re.DOTALL)
_START = re.compile(rf"the (?P<kind>{'|'.join(FACTS)}) (?P<name>.+)")
_REGULAR = re.compile(r"(?:What|Who) is (?P<d>the .+ of .+)\?")


@dataclass(frozen=True, slots=True)
class Chain:
    """A question along facts: ``facts[0]`` of the thing ``start``, ``facts[1]`` of what that names, and so on."""

    start: str
    facts: tuple[Fact, ...]

    def goal(self) -> str:
        """``the occupation of the author of The Fadell Mirror``."""
        return "".join(f"the {fact.noun} of " for fact in reversed(self.facts)) + self.start


@dataclass(frozen=True, slots=True)
class Pair:
    """A question over two things: which has the smaller or greater number, or whether both have the same value."""

    one: str
    other: str
    fact: Fact
    wanted: str
    """``smaller``, ``greater`` or ``same``."""

    def goal(self) -> str:
        """``the smaller length of Black Wivorn and Long Noreth``."""
        return f"the {self.wanted} {self.fact.noun} of {self.one} and {self.other}"


def read_question(observation: str) -> Chain | Pair:
    """The question in the first observation. Raises `ValueError` if it is none that the generator asks."""
    match = _QUESTION.search(observation)
    text = match["text"].strip() if match else ""
    found = _pair(text) or _chain(text)
    if found is None:
        raise ValueError(f"no question about a generated encyclopaedia is asked: {text or observation!r}")
    return found


def _pair(text: str) -> Pair | None:
    for fact in _ALL:
        wordings = zip(("smaller", "greater", "same"), (*fact.comparisons, fact.same), strict=True)
        for wanted, wording in wordings:
            if wording and (match := _pattern(wording).fullmatch(text)):
                return Pair(match["a"], match["b"], fact, wanted)
    return None


def _chain(text: str) -> Chain | None:
    regular = _REGULAR.fullmatch(text)
    if regular and (chain := _described(regular["d"])):
        return chain
    for fact in _ALL:
        match = _pattern(fact.question).fullmatch(text)
        described = _described(match["d"]) if match else None
        if described and described.facts[-1].leads_to == fact.kind:
            return Chain(described.start, (*described.facts, fact))
    return None


def _described(text: str) -> Chain | None:
    """The chain of ``the author of the book X``; None if its nouns do not fit together."""
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
    return Chain(name, tuple(facts)) if facts else None


def _pattern(wording: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{([abd])\\\}", r"(?P<\1>.+)", re.escape(wording)))


class BeliefState:
    """What has been read: facts, names, the open page, and titles that were offered.

    Attributes:
        facts: values by (name, noun of the fact).
        names: the names of things that were read of, in order, with their kinds.
        page: the name that the open page was searched by; None at first.
        offered: titles named as similar by the last search, if it found nothing.
        exhausted: the last lookup had no more results.
    """

    def __init__(self) -> None:
        self.facts: dict[tuple[str, str], str] = {}
        self.names: dict[str, str] = {}
        self.page: str | None = None
        self.offered: Sequence[str] = ()
        self.exhausted = False

    def begin(self, question: Chain | Pair) -> None:
        """Remember the names in the question."""
        if isinstance(question, Chain):
            self.names[question.start] = question.facts[0].kind
        else:
            self.names.update({question.one: question.fact.kind, question.other: question.fact.kind})

    def read(self, action: str, observation: str) -> None:
        """Take in what an action was answered with."""
        missing = _NOT_FOUND.fullmatch(observation.strip())
        self.offered = ast.literal_eval(missing["titles"]) if missing else ()
        self.exhausted = observation == NO_MORE_RESULTS
        if action.startswith("search[") and not missing:
            self.page = plain_name(action[len("search[") : -1])
        for sentence in _SENTENCE_END.split(_RESULT.sub("", observation)):
            self._read_sentence(sentence)

    def _read_sentence(self, sentence: str) -> None:
        for fact in _ALL:
            match = fact.pattern.fullmatch(sentence)
            if match:
                self.facts[match["n"], fact.noun] = match["v"]
                if fact.leads_to:
                    self.names.setdefault(match["v"], fact.leads_to)
                return


def plain_name(title: str) -> str:
    """A title without what stands in brackets behind it."""
    return re.sub(r" \([a-z]+\)$", "", title)


def told(noun: str, name: str, value: str) -> str:
    """A fact in the words of a thought."""
    return f"The {noun} of {name} is {value}."


def facts_of(kind: str) -> Mapping[str, Fact]:
    """A kind's facts by noun."""
    return {fact.noun: fact for fact in FACTS.get(kind, ())}
