"""The expert policy: solves generated problems from their text alone, sentence by sentence.

It knows the generator's sentences but not the problem: it tracks the values that it has read and calculated, skips
irrelevant sentences, and uses the calculator or Python for all arithmetic. At given rates it makes errors typical of
small models, so that a model trained on its episodes also sees how to recover from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rollout.environments.demonstrate import TurnMaker
from rollout.environments.math.calculator import calculate
from rollout.environments.math.code_problems import PROBLEMS, CodeProblem
from rollout.environments.math.random_policy import random_step
from rollout.environments.math.sentences import Memory, fill
from rollout.environments.math.stories import ParsedSentence, read_story
from rollout.environments.scripted import ExpertPolicy, Move

_TASK = "\nYour task is to:"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Error rates of the expert in word problems, as probabilities per step.

    Attributes:
        random_step: calculates something that does not help to solve the problem.
        wrong_number: writes a wrong number into a calculation, and corrects it in the next turn.
    """

    random_step: float = 0.06
    wrong_number: float = 0.05


NO_MISTAKES = ErrorRates(0.0, 0.0)


class MathExpert(ExpertPolicy[ErrorRates]):
    """Solves one generated problem."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._moves: Iterator[Move] | None = None
        self._observation = ""
        self._numbers: list[str] = []

    def _move(self, observation: str) -> Move:
        self._observation = observation.strip()
        self._numbers += _NUMBER.findall(observation)
        if self._moves is None:
            text = observation.partition(_TASK)[0].strip()
            self._moves = (
                self._with_code(*found) if (found := _code_problem(text)) else self._with_calculator(read_story(text))
            )
        return next(self._moves, ("I have no more to say.", f"finish[{self._observation}]"))

    def _with_calculator(self, story: list[ParsedSentence]) -> Iterator[Move]:
        memory: Memory = {}
        for words, sentence, slots in story:
            if not sentence.formula:
                continue
            if memory and self._errs(self._error_rates.random_step):
                yield random_step(story, self._numbers, self._rng)
            recalled = " ".join((words, *sentence.recalled(slots, memory)))
            value = sentence.calculation(slots, memory)
            if not value.isdigit():
                if (slip := self._with_wrong_number(value)) != value:
                    yield recalled, f"calculate[{slip}]"
                    recalled = f"That was wrong. {recalled}"
                yield recalled, f"calculate[{value}]"
                value = self._observation
                recalled = f"{words} The result is {value}."
            if sentence.is_question:
                yield recalled, f"finish[{value}]"
            memory[sentence.key(slots)] = value

    def _with_wrong_number(self, calculation: str) -> str:
        """The calculation, sometimes with a wrong number."""
        if not self._errs(self._error_rates.wrong_number):
            return calculation
        meant = self._rng.choice(list(_NUMBER.finditer(calculation)))
        return calculation[: meant.start()] + self._rng.choice(self._numbers) + calculation[meant.end() :]

    def _with_code(self, problem: CodeProblem, slots: dict[str, str]) -> Iterator[Move]:
        question = problem.sentence.write(slots)
        for number, line in enumerate(problem.code):
            thought = f"{question} I use Python." if number == 0 else "I go on."
            yield thought, f"python[{fill(line, slots)}]"
        yield f"The result is {self._observation}.", f"finish[{self._observation}]"


def _code_problem(text: str) -> tuple[CodeProblem, dict[str, str]] | None:
    read = ((problem, problem.sentence.read(text)) for problem in PROBLEMS)
    return next(((problem, slots) for problem, slots in read if slots is not None), None)


class MathReasoner:
    """Solves one generated problem in one turn (`rollout.scripted_policy.Reasoner`).

    It writes the thoughts of `MathExpert`, each followed by the result of its calculation. For a problem that needs
    Python, it writes that the problem is too long and guesses.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def reason(self, observation: str) -> tuple[str, str]:
        """Return the reasoning and the answer. Raises `ValueError` for a problem that the expert cannot parse."""
        expert, read = TurnMaker(MathExpert(self._seed, NO_MISTAKES)), observation
        steps: list[str] = []
        while True:
            turn = expert.turn(read)
            thought, (name, _, argument) = turn.thought, turn.action.removesuffix("]").partition("[")
            if name == "calculate":
                read = calculate(argument)
                steps += [thought, f"{argument} = {read}"]
            elif name == "finish":
                return "\n\n".join([*steps, thought]), argument
            else:
                return f"{thought.removesuffix(' I use Python.')}\n\nThis is too much to do by hand. I guess.", "1"
