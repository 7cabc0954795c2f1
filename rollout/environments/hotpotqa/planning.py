"""What players do with what they have read: how far a question is answered, what it needs next, and where to find that.

The expert follows the question that it was asked, the random player one of its own at every turn.
"""

from __future__ import annotations

from collections.abc import Container

from rollout.environments.hotpotqa.facts import Fact
from rollout.environments.hotpotqa.reading import BeliefState, Chain, Pair, told
from rollout.environments.scripted import Move

Need = tuple[str, Fact]
"""A thing's name, and the fact of it that is needed."""

UNKNOWN = "finish[unknown]"


def progress(known: BeliefState, question: Chain | Pair) -> tuple[list[str], Need | None, str]:
    """What is known towards the answer in words, what is needed next, and the answer if nothing is."""
    return _along(known, question) if isinstance(question, Chain) else _compare(known, question)


def find(known: BeliefState, need: Need, opening: str, last_action: str, tried: Container[str] = ()) -> Move:
    """The next step towards a fact: open its page, look it up there, or choose among similar titles."""
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
    """Among similar titles, the one that says what kind of thing is meant, else the first not yet tried."""
    titles = [title for title in known.offered if title == own_title]
    titles += [title for title in known.offered if title.startswith(name) and title not in tried]
    if not titles:
        return f"{opening} There is no such page. I finish.", UNKNOWN
    return f"{opening} There is no such page. I search {titles[0]}.", f"search[{titles[0]}]"


def _along(known: BeliefState, question: Chain) -> tuple[list[str], Need | None, str]:
    found: list[str] = []
    at = question.start
    for fact in question.facts:
        value = known.facts.get((at, fact.noun))
        if value is None:
            return found, (at, fact), ""
        found.append(told(fact.noun, at, value))
        at = value
    return found, None, at


def _compare(known: BeliefState, question: Pair) -> tuple[list[str], Need | None, str]:
    noun = question.fact.noun
    found: list[str] = []
    values: list[str] = []
    for name in (question.one, question.other):
        value = known.facts.get((name, noun))
        if value is None:
            return found, (name, question.fact), ""
        found.append(told(noun, name, value))
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
