"""The expert policy: answers generated questions by exploration, with knowledge only from what it has read.

It searches for the next entity, looks up facts that the first sentences do not show, and chooses among similar titles.
Each thought repeats the goal and the facts found so far. At given rates it makes errors typical of small models, so a
model trained on its episodes also sees how to recover from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rollout.environments.hotpotqa.facts import FACTS, Fact
from rollout.environments.hotpotqa.names import draw_name
from rollout.environments.hotpotqa.planning import Need, next_step, progress
from rollout.environments.hotpotqa.random_policy import random_step
from rollout.environments.hotpotqa.reading import BeliefState, ParsedQuestion, fact_sentence, read_question
from rollout.environments.scripted import ExpertPolicy, Move


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Error rates of the expert, as probabilities per turn.

    Attributes:
        random_step: takes a step that does not help to answer the question.
        wrong_name: searches for a name with one wrong word, which usually has no page, and then tries again.
        wrong_words: looks up the keyword of another fact.
    """

    random_step: float = 0.03
    wrong_name: float = 0.04
    wrong_words: float = 0.05


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class HotpotQAExpert(ExpertPolicy[ErrorRates]):
    """Answers one question about a generated wiki."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._belief = BeliefState()
        self._question: ParsedQuestion | None = None
        self._tried: set[str] = set()

    def _move(self, observation: str) -> Move:
        known = self._belief
        if self._question is None:
            self._question = read_question(observation)
            known.begin(self._question)
        else:
            known.read(self._last_action, observation)
        if self._last_action and self._errs(self._error_rates.random_step):
            thought, action = random_step(known, self._rng, self._last_action)
        else:
            thought, action = self._with_error(*self._decide(known, self._question))
        self._tried.add(action.removeprefix("search[").removesuffix("]"))
        return thought, action

    def _decide(self, known: BeliefState, question: ParsedQuestion) -> Move:
        found, need, answer = progress(known, question)
        opening = " ".join([f"I want {question.goal()}.", *found])
        if need is None:
            return f"{opening} I finish.", f"finish[{answer}]"
        return next_step(known, need, opening, self._last_action, self._tried)

    def _with_error(self, thought: str, action: str) -> Move:
        """The move, sometimes with a wrong name or keyword in both thought and action."""
        kind, _, argument = action.removesuffix("]").partition("[")
        if kind == "search" and self._errs(self._error_rates.wrong_name):
            wrong = _wrong_name(argument, list(self._belief.names), self._rng)
        elif kind == "lookup" and self._errs(self._error_rates.wrong_words):
            wrong = self._rng.choice([fact.keyword for facts in FACTS.values() for fact in facts])
        else:
            return thought, action
        return f"{thought.removesuffix(f'{argument}.')}{wrong}.", f"{kind}[{wrong}]"


def _wrong_name(name: str, others: list[str], rng: Random) -> str:
    """The name with one word replaced by a word of another name that was read."""
    words = name.split(" ")
    place = rng.randrange(len(words))
    words[place] = rng.choice(rng.choice(others).split(" "))
    return " ".join(words)


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
