"""An expert that solves generated problems from their text alone, sentence by sentence.

It knows the language of the generator, not the problem: it keeps the values it has read and calculated, passes over
sentences that have nothing to do with the question, and lets the calculator or Python do all arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from rollout.maths.code_problems import PROBLEMS, CodeProblem
from rollout.maths.sentences import Memory, Sentence
from rollout.maths.stories import sentences

_TASK = "\nYour task is to:"
_SENTENCE = re.compile(r"(?<=[.?])\s+")


class MathsExpert:
    """Plays one maths episode (`rollout.policy.TextPolicy`); the seed changes nothing, it has no choice to make."""

    def __init__(self, seed: int = 0) -> None:
        self._moves: Iterator[tuple[str, str]] | None = None
        self._observation = ""

    def respond(self, observation: str) -> str:
        """The next thought and action. Raises `ValueError` for a problem that it cannot read."""
        self._observation = observation.strip()
        if self._moves is None:
            text = observation.partition(_TASK)[0].strip()
            self._moves = self._with_code(*found) if (found := _code_problem(text)) else self._by_hand(text)
        thought, action = next(self._moves, ("I have no more to say.", f"finish[{self._observation}]"))
        return f"Thought: {thought}\nAction: {action}"

    def _by_hand(self, text: str) -> Iterator[tuple[str, str]]:
        memory: Memory = {}
        for words in _SENTENCE.split(text):
            sentence, slots = _read(words)
            if not sentence.formula:
                continue
            recalled = " ".join((words, *sentence.recalled(slots, memory)))
            value = sentence.calculation(slots, memory)
            if not value.isdigit():
                yield recalled, f"calculate[{value}]"
                value = self._observation
                recalled = f"{words} The result is {value}."
            if sentence.is_question:
                yield recalled, f"finish[{value}]"
            memory[sentence.key(slots)] = value

    def _with_code(self, problem: CodeProblem, slots: dict[str, str]) -> Iterator[tuple[str, str]]:
        question = problem.sentence.write(slots)
        for number, line in enumerate(problem.code):
            thought = f"{question} I use Python." if number == 0 else "I go on."
            yield thought, f"python[{_with_slots(line, slots)}]"
        yield f"The result is {self._observation}.", f"finish[{self._observation}]"


@cache
def _language() -> list[Sentence]:
    return sentences()


def _read(words: str) -> tuple[Sentence, dict[str, str]]:
    for sentence in _language():
        slots = sentence.read(words)
        if slots is not None:
            return sentence, slots
    raise ValueError(f"the expert cannot read this sentence of a maths problem: {words!r}")


def _code_problem(text: str) -> tuple[CodeProblem, dict[str, str]] | None:
    for problem in PROBLEMS:
        slots = problem.sentence.read(text)
        if slots is not None:
            return problem, slots
    return None


def _with_slots(line: str, slots: dict[str, str]) -> str:
    return re.sub(r"\{(\w)\}", lambda match: slots[match[1]], line)
