"""A player with words and no aim: it reads about this and that, says what it has found, and answers anything.

Whatever its thoughts state as found is true, but nothing it does serves the question. A model trained on such play
knows the language of the encyclopaedia and can copy a name, as a pretrained model does, and has no policy.
"""

from __future__ import annotations

from random import Random

from rollout.encyclopaedia.facts import FACTS, Fact
from rollout.encyclopaedia.reading import Knowledge, facts_of, read_question, told

_FINISHES = 0.06
"""Chance at each turn that it answers."""


class RandomPlayer:
    """Plays one episode at random (`rollout.policy.TextPolicy`).

    Its first thought names what the question asks for, though nothing follows from it.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = Random(seed)
        self._knowledge = Knowledge()
        self._last_action = ""

    def respond(self, observation: str) -> str:
        known, rng = self._knowledge, self._rng
        if not self._last_action:
            question = read_question(observation)
            known.begin(question)
            name = rng.choice(list(known.names))
            thought, action = f"I want {question.goal()}. I search {name}.", f"search[{name}]"
        else:
            known.read(self._last_action, observation)
            thought, action = _finish(known, rng) if rng.random() < _FINISHES else random_step(known, rng)
        self._last_action = action
        return f"Thought: {thought}\nAction: {action}"


def random_step(known: Knowledge, rng: Random) -> tuple[str, str]:
    """A random thought and action that make sense of what has been read; never an answer."""
    name = known.page if known.page in known.names and rng.random() < 0.5 else rng.choice(list(known.names))
    fact = _some_fact(known, str(name), rng)
    opening = f"I want the {fact.noun} of {name}."
    value = known.facts.get((str(name), fact.noun))
    if value is not None:
        opening += f" {told(fact.noun, str(name), value)}"
        if fact.leads_to:
            return f"{opening} I search {value}.", f"search[{value}]"
    elif known.page == name:
        return f"{opening} It is not shown. I look up {fact.keyword}.", f"lookup[{fact.keyword}]"
    elif known.offered and rng.random() < 0.8:
        title = rng.choice(list(known.offered))
        return f"{opening} There is no such page. I search {title}.", f"search[{title}]"
    return f"{opening} I search {name}.", f"search[{name}]"


def _some_fact(known: Knowledge, name: str, rng: Random) -> Fact:
    facts = facts_of(known.names.get(name, "")) or facts_of(rng.choice(list(FACTS)))
    return rng.choice(list(facts.values()))


def _finish(known: Knowledge, rng: Random) -> tuple[str, str]:
    """Answer with something that was read, or with yes or no."""
    if not known.facts or rng.random() < 0.2:
        return "I finish.", f"finish[{rng.choice(('yes', 'no'))}]"
    (name, noun), value = rng.choice(list(known.facts.items()))
    return f"{told(noun, name, value)} I finish.", f"finish[{value}]"
