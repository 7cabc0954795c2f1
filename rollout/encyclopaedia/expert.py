"""An exploring expert: it reads the question, then page after page, and knows nothing that it has not read.

It searches for what it needs next, looks up what the first sentences do not show, chooses among similar titles by what
it looks for, and says in the same words at every turn what it wants and what it has found. A small share of its steps
is random, so that a model trained on its episodes also sees how to go on from where an expert would not be.
"""

from __future__ import annotations

from random import Random

from rollout.encyclopaedia.facts import Fact
from rollout.encyclopaedia.random_play import random_step
from rollout.encyclopaedia.reading import Chain, Knowledge, Pair, read_question, told

RANDOM_SHARE = 0.03
"""Share of random steps."""

_Need = tuple[str, Fact]


class EncyclopaediaExpert:
    """Plays one episode in a generated encyclopaedia (`rollout.policy.TextPolicy`).

    Args:
        seed: of the random steps.
        random_share: chance that a step is random; 0 makes it deterministic.
    """

    def __init__(self, seed: int = 0, random_share: float = RANDOM_SHARE) -> None:
        self._rng = Random(seed)
        self._random_share = random_share
        self._knowledge = Knowledge()
        self._question: Chain | Pair | None = None
        self._last_action = ""
        self._tried: set[str] = set()

    def respond(self, observation: str) -> str:
        known = self._knowledge
        if self._question is None:
            self._question = read_question(observation)
            known.begin(self._question)
        else:
            known.read(self._last_action, observation)
        if self._last_action and self._rng.random() < self._random_share:
            thought, action = random_step(known, self._rng)
        else:
            thought, action = self._decide(known, self._question)
        self._last_action = action
        return f"Thought: {thought}\nAction: {action}"

    def _decide(self, known: Knowledge, question: Chain | Pair) -> tuple[str, str]:
        found, need, answer = _progress(known, question)
        opening = " ".join([f"I want {question.goal()}.", *found])
        if need is None:
            return f"{opening} I finish.", f"finish[{answer}]"
        name, fact = need
        opening = f"{opening} I need the {fact.noun} of {name}."
        asked_for = self._last_action in (f"search[{name}]", *(f"search[{title}]" for title in _titles(name, fact)))
        if known.page == name:
            if not known.exhausted:
                return f"{opening} It is not shown. I look up {fact.keyword}.", f"lookup[{fact.keyword}]"
            if self._last_action == f"lookup[{fact.keyword}]":
                return f"{opening} It is not there. I finish.", "finish[unknown]"
        if known.offered and asked_for:
            return self._choose(known, need, opening)
        return f"{opening} I search {name}.", f"search[{name}]"

    def _choose(self, known: Knowledge, need: _Need, opening: str) -> tuple[str, str]:
        """Among similar titles, the one that says what kind of thing is meant, else the first not yet tried."""
        name, fact = need
        titles = [title for title in known.offered if title in _titles(name, fact)]
        titles += [title for title in known.offered if title.startswith(name) and title not in self._tried]
        if not titles:
            return f"{opening} There is no such page. I finish.", "finish[unknown]"
        self._tried.add(titles[0])
        return f"{opening} There is no such page. I search {titles[0]}.", f"search[{titles[0]}]"


def _titles(name: str, fact: Fact) -> tuple[str, ...]:
    """How the page of the thing meant is called if its name is shared."""
    return (f"{name} ({fact.kind})",)


def _progress(known: Knowledge, question: Chain | Pair) -> tuple[list[str], _Need | None, str]:
    """What is known towards the answer in words, what is needed next, and the answer if nothing is."""
    return _along(known, question) if isinstance(question, Chain) else _compare(known, question)


def _along(known: Knowledge, question: Chain) -> tuple[list[str], _Need | None, str]:
    found: list[str] = []
    at = question.start
    for fact in question.facts:
        value = known.facts.get((at, fact.noun))
        if value is None:
            return found, (at, fact), ""
        found.append(told(fact.noun, at, value))
        at = value
    return found, None, at


def _compare(known: Knowledge, question: Pair) -> tuple[list[str], _Need | None, str]:
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
