"""Planning of the scripted policies: progress on a question, the next missing fact, and the step towards it.

The expert follows the task's question; the random policy draws a question of its own at every turn.
"""

from __future__ import annotations

from collections.abc import Container

from rollout.environments.hotpotqa.facts import Fact
from rollout.environments.hotpotqa.reading import (
    BeliefState,
    BridgeQuestion,
    ComparisonQuestion,
    ParsedQuestion,
    fact_sentence,
)
from rollout.environments.scripted import Move

Need = tuple[str, Fact]
"""Name of an entity, and the fact about it that is needed."""

UNKNOWN = "finish[unknown]"


def progress(known: BeliefState, question: ParsedQuestion) -> tuple[list[str], Need | None, str]:
    """Known facts as sentences, the next missing fact, and the answer if no fact is missing."""
    return (
        _bridge_progress(known, question)
        if isinstance(question, BridgeQuestion)
        else _comparison_progress(known, question)
    )


def next_step(known: BeliefState, need: Need, opening: str, last_action: str, tried: Container[str] = ()) -> Move:
    """Choose the next step towards a fact: open its page, look it up there, or choose among similar titles."""
    name, fact = need
    opening = f"{opening} I need the {fact.noun} of {name}."
    if known.page == name:
        if not known.exhausted:
            return f"{opening} It is not shown. I look up {fact.keyword}.", f"lookup[{fact.keyword}]"
        if last_action == f"lookup[{fact.keyword}]":
            return f"{opening} It is not there. I finish.", UNKNOWN
    own_title = f"{name} ({fact.kind})"
    if known.offered and last_action in (f"search[{name}]", f"search[{own_title}]"):
        return _choose(known, name, own_title, opening, tried)
    return f"{opening} I search {name}.", f"search[{name}]"


def _choose(known: BeliefState, name: str, own_title: str, opening: str, tried: Container[str]) -> Move:
    """Choose the similar title that contains the kind of the entity, else the first one not yet tried."""
    titles = [title for title in known.offered if title == own_title]
    titles += [title for title in known.offered if title.startswith(name) and title not in tried]
    if not titles:
        return f"{opening} There is no such page. I finish.", UNKNOWN
    return f"{opening} There is no such page. I search {titles[0]}.", f"search[{titles[0]}]"


def _bridge_progress(known: BeliefState, question: BridgeQuestion) -> tuple[list[str], Need | None, str]:
    found: list[str] = []
    at = question.start
    for fact in question.facts:
        value = known.facts.get((at, fact.noun))
        if value is None:
            return found, (at, fact), ""
        found.append(fact_sentence(fact.noun, at, value))
        at = value
    return found, None, at


def _comparison_progress(known: BeliefState, question: ComparisonQuestion) -> tuple[list[str], Need | None, str]:
    noun = question.fact.noun
    found: list[str] = []
    values: list[str] = []
    for name in (question.one, question.other):
        value = known.facts.get((name, noun))
        if value is None:
            return found, (name, question.fact), ""
        found.append(fact_sentence(noun, name, value))
        values.append(value)
    one, other = values
    if question.wanted == "same":
        same = one == other
        found.append("They are the same." if same else "They are not the same.")
        return found, None, "yes" if same else "no"
    first = (int(one) < int(other)) == (question.wanted == "smaller")
    answer = question.one if first else question.other
    found.append(f"The {question.wanted} is of {answer}.")
    return found, None, answer
