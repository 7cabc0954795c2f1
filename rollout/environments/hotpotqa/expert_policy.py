"""An exploring expert: it reads the question, then page after page, and knows nothing that it has not read.

It searches for what it needs next, looks up what the first sentences do not show, chooses among similar titles by what
it looks for, and says in the same words at every turn what it wants and what it has found. Now and then it makes the
mistakes that small models make, so that a model trained on its episodes also sees how to go on from where an expert
would not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rollout.environments.hotpotqa.facts import FACTS
from rollout.environments.hotpotqa.planning import find, progress
from rollout.environments.hotpotqa.random_policy import random_step
from rollout.environments.hotpotqa.reading import BeliefState, Chain, Pair, read_question
from rollout.environments.scripted import ExpertPolicy, Move


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often the expert errs: chances from 0 to 1.

    Attributes:
        random_step: does something that serves nothing.
        wrong_name: searches for a name of which a word is another one; there is no such page, and it tries again.
        wrong_words: looks up the words of another fact.
    """

    random_step: float = 0.03
    wrong_name: float = 0.04
    wrong_words: float = 0.05


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class HotpotQAExpert(ExpertPolicy[ErrorRates]):
    """Plays one episode in a generated encyclopaedia."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._knowledge = BeliefState()
        self._question: Chain | Pair | None = None
        self._tried: set[str] = set()

    def _move(self, observation: str) -> Move:
        known = self._knowledge
        if self._question is None:
            self._question = read_question(observation)
            known.begin(self._question)
        else:
            known.read(self._last_action, observation)
        if self._last_action and self._errs(self._error_rates.random_step):
            thought, action = random_step(known, self._rng, self._last_action)
        else:
            thought, action = self._slip(*self._decide(known, self._question))
        self._tried.add(action.removeprefix("search[").removesuffix("]"))
        return thought, action

    def _decide(self, known: BeliefState, question: Chain | Pair) -> Move:
        found, need, answer = progress(known, question)
        opening = " ".join([f"I want {question.goal()}.", *found])
        if need is None:
            return f"{opening} I finish.", f"finish[{answer}]"
        return find(known, need, opening, self._last_action, self._tried)

    def _slip(self, thought: str, action: str) -> Move:
        """The move, or now and then one with words that are not meant, in thought and action."""
        kind, _, argument = action.removesuffix("]").partition("[")
        if kind == "search" and self._errs(self._error_rates.wrong_name):
            wrong = _wrong_name(argument, list(self._knowledge.names), self._rng)
        elif kind == "lookup" and self._errs(self._error_rates.wrong_words):
            wrong = self._rng.choice([fact.keyword for facts in FACTS.values() for fact in facts])
        else:
            return thought, action
        return f"{thought.removesuffix(f'{argument}.')}{wrong}.", f"{kind}[{wrong}]"


def _wrong_name(name: str, others: list[str], rng: Random) -> str:
    """The name with one word of another one that was read."""
    words = name.split(" ")
    place = rng.randrange(len(words))
    words[place] = rng.choice(rng.choice(others).split(" "))
    return " ".join(words)
