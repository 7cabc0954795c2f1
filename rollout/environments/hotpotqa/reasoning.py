"""Single-turn reasoning without search: uses the given passages and guesses the facts that they do not contain."""

from __future__ import annotations

from random import Random

from rollout.environments.hotpotqa.facts import Fact
from rollout.environments.hotpotqa.names import draw_name
from rollout.environments.hotpotqa.planning import Need, progress
from rollout.environments.hotpotqa.reading import BeliefState, fact_sentence, read_question


class HotpotQAReasoner:
    """Answers one generated question in one turn (`rollout.scripted_policy.Reasoner`).

    Args:
        seed: seed of the guesses.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = Random(seed)

    def reason(self, observation: str) -> tuple[str, str]:
        """Return the reasoning and the answer. Raises `ValueError` for a question that it cannot parse."""
        known, question = BeliefState(), read_question(observation)
        known.begin(question)
        for passage in observation.split("\n"):
            known.read("", passage)
        steps: list[str] = []
        while True:
            found, need, answer = progress(known, question)
            opening = " ".join([f"I want {question.goal()}.", *found])
            if need is None:
                return "\n\n".join([*steps, opening]), answer
            steps.append(f"{opening} I need the {need[1].noun} of {need[0]}.")
            steps.append(self._guess(known, need))

    def _guess(self, known: BeliefState, need: Need) -> str:
        """Guess a value of the fact, worded like a fact that was read."""
        name, fact = need
        value = known.facts[name, fact.noun] = self._value(fact)
        return f"I do not see it. {fact_sentence(fact.noun, name, value)}"

    def _value(self, fact: Fact) -> str:
        if fact.words:
            return self._rng.choice(fact.words)
        if fact.leads_to:
            return draw_name(fact.leads_to, self._rng, set(), held_back=False)
        return str(self._rng.randint(*fact.numbers))
