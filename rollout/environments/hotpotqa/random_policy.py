"""The random policy: follows a random question at every turn and gives random answers.

The facts in its thoughts are true, but its actions ignore the task's question. A model trained on its episodes learns
the language of the environment and copies names, but learns no policy.
"""

from __future__ import annotations

from random import Random

from rollout.environments.hotpotqa.asking import is_held_back_combination
from rollout.environments.hotpotqa.facts import FACTS, Fact
from rollout.environments.hotpotqa.planning import UNKNOWN, next_step, progress
from rollout.environments.hotpotqa.reading import (
    BeliefState,
    BridgeQuestion,
    ComparisonQuestion,
    ParsedQuestion,
    fact_sentence,
    read_question,
)
from rollout.environments.scripted import Move, ScriptedPolicy

_FINISH_CHANCE = 0.1
"""Probability of an answer at each turn."""
_COMPARISON_SHARE = 0.25
"""Fraction of drawn questions that are comparisons."""
_EXTEND_CHANCE = 0.5
"""Probability that a chain is extended by one fact, where possible."""
_OPEN_PAGE_CHANCE = 0.6
"""Probability that a question is about the open page."""


class RandomPolicy(ScriptedPolicy):
    """Acts at random for one episode.

    Its first thought states the goal of the task's question, but later turns ignore it.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._belief = BeliefState()

    def _move(self, observation: str) -> Move:
        known, rng = self._belief, self._rng
        if not self._last_action:
            question = read_question(observation)
            known.begin(question)
            name = rng.choice(list(known.names))
            return f"I want {question.goal()}. I search {name}.", f"search[{name}]"
        known.read(self._last_action, observation)
        return _finish(known, rng) if rng.random() < _FINISH_CHANCE else random_step(known, rng, self._last_action)


def random_step(known: BeliefState, rng: Random, last_action: str) -> Move:
    """A step towards a random fact, in the expert's wording; never an answer."""
    question = _question(known, rng)
    found, need, _ = progress(known, question)
    opening = " ".join([f"I want {question.goal()}.", *found])
    if need is not None:
        thought, action = next_step(known, need, opening, last_action)
        if action != UNKNOWN:
            return thought, action
    name = rng.choice(list(known.names))
    return f"{opening} I search {name}.", f"search[{name}]"


def _question(known: BeliefState, rng: Random) -> ParsedQuestion:
    """Draw a question about entities that were read; it never uses a held-out combination of facts."""
    while True:
        near = known.page if known.page in known.names and rng.random() < _OPEN_PAGE_CHANCE else None
        name = near or rng.choice(list(known.names))
        fact = rng.choice(FACTS[known.names[name]])
        if rng.random() >= _COMPARISON_SHARE:
            return BridgeQuestion(name, _chain(fact, rng))
        others = [other for other, kind in known.names.items() if kind == fact.kind and other != name]
        wanted = [*(("smaller", "greater") if fact.comparisons[0] else ()), *(("same",) if fact.same else ())]
        wanted = [word for word in wanted if not is_held_back_combination(f"{fact.key} {word}")]
        if others and wanted:
            pair = [name, rng.choice(others)]
            rng.shuffle(pair)
            return ComparisonQuestion(pair[0], pair[1], fact, rng.choice(wanted))


def _chain(fact: Fact, rng: Random) -> tuple[Fact, ...]:
    facts = [fact]
    while facts[-1].leads_to and rng.random() < _EXTEND_CHANCE:
        facts.append(rng.choice(FACTS[facts[-1].leads_to]))
        if is_held_back_combination(f"{facts[-2].key} > {facts[-1].key}"):
            facts.pop()
    return tuple(facts)


def _finish(known: BeliefState, rng: Random) -> Move:
    """Answer with a value that was read, or with yes or no."""
    if not known.facts or rng.random() < 0.2:
        return "I finish.", f"finish[{rng.choice(('yes', 'no'))}]"
    (name, noun), value = rng.choice(list(known.facts.items()))
    return f"{fact_sentence(noun, name, value)} I finish.", f"finish[{value}]"
