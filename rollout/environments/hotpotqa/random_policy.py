"""A player with words and no aim: at every turn it follows a question of its own, and it answers anything.

Whatever its thoughts state as found is true, but nothing it does serves the question that was asked. A model trained
on such play knows the language of the encyclopaedia, copies names and sees what is in view, and has no policy.
"""

from __future__ import annotations

from random import Random

from rollout.environments.hotpotqa.asking import is_held_back_combination
from rollout.environments.hotpotqa.facts import FACTS, Fact
from rollout.environments.hotpotqa.planning import UNKNOWN, find, progress
from rollout.environments.hotpotqa.reading import BeliefState, Chain, Pair, read_question, told
from rollout.environments.scripted import Move, ScriptedPolicy

_FINISHES = 0.1
"""Chance at each turn that it answers."""
_PAIRS = 0.25
"""Share of its questions that are over two things."""
_LONGER = 0.5
"""Chance that a question goes one fact further, where it can."""
_NEAR = 0.6
"""Chance that a question is about the open page."""


class RandomPolicy(ScriptedPolicy):
    """Plays one episode at random.

    Its first thought names what the question asks for, though nothing follows from it.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._knowledge = BeliefState()

    def _move(self, observation: str) -> Move:
        known, rng = self._knowledge, self._rng
        if not self._last_action:
            question = read_question(observation)
            known.begin(question)
            name = rng.choice(list(known.names))
            return f"I want {question.goal()}. I search {name}.", f"search[{name}]"
        known.read(self._last_action, observation)
        if rng.random() < _FINISHES:
            return _finish(known, rng)
        return random_step(known, rng, self._last_action)


def random_step(known: BeliefState, rng: Random, last_action: str) -> Move:
    """A step towards a random fact, in the words in which the expert takes one; never an answer."""
    question = _question(known, rng)
    found, need, _ = progress(known, question)
    opening = " ".join([f"I want {question.goal()}.", *found])
    if need is not None:
        thought, action = find(known, need, opening, last_action)
        if action != UNKNOWN:
            return thought, action
    name = rng.choice(list(known.names))
    return f"{opening} I search {name}.", f"search[{name}]"


def _question(known: BeliefState, rng: Random) -> Chain | Pair:
    """About things that were read of; never of a combination of facts that is held back."""
    while True:
        near = known.page if known.page in known.names and rng.random() < _NEAR else None
        name = near or rng.choice(list(known.names))
        fact = rng.choice(FACTS[known.names[name]])
        if rng.random() >= _PAIRS:
            return Chain(name, _chain(fact, rng))
        others = [other for other, kind in known.names.items() if kind == fact.kind and other != name]
        wanted = [*(("smaller", "greater") if fact.comparisons[0] else ()), *(("same",) if fact.same else ())]
        wanted = [word for word in wanted if not is_held_back_combination(f"{fact.key} {word}")]
        if others and wanted:
            pair = [name, rng.choice(others)]
            rng.shuffle(pair)
            return Pair(pair[0], pair[1], fact, rng.choice(wanted))


def _chain(fact: Fact, rng: Random) -> tuple[Fact, ...]:
    facts = [fact]
    while facts[-1].leads_to and rng.random() < _LONGER:
        facts.append(rng.choice(FACTS[facts[-1].leads_to]))
        if is_held_back_combination(f"{facts[-2].key} > {facts[-1].key}"):
            facts.pop()
    return tuple(facts)


def _finish(known: BeliefState, rng: Random) -> Move:
    """Answer with something that was read, or with yes or no."""
    if not known.facts or rng.random() < 0.2:
        return "I finish.", f"finish[{rng.choice(('yes', 'no'))}]"
    (name, noun), value = rng.choice(list(known.facts.items()))
    return f"{told(noun, name, value)} I finish.", f"finish[{value}]"
