"""The random policy: calculates with numbers that it has read, in any order, and answers with one of them.

Its thoughts are true, but its actions ignore the question. A model trained on its episodes learns the language of the
problems, copies sentences and numbers and calls the calculator, but learns no policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from rollout.environments.math.stories import ParsedSentence, read_story
from rollout.environments.scripted import Move, ScriptedPolicy

_NUMBER = re.compile(r"(?<![\d.])\d{1,4}(?!\d|\.\d)")
"""A whole number of up to four digits."""
_FINISH_CHANCE = 0.2
"""Probability of an answer at each turn after the first."""
_FREE_CALCULATION_SHARE = 0.15
"""Fraction of calculations that follow no sentence of the problem."""
_GIVEN_SHARE = 0.5
"""Probability that a value stated in the problem is used, if there is one."""
_OPERATORS = {"+": "I add {b} to {a}.", "-": "I subtract {b} from {a}.", "*": "I multiply {a} by {b}."}


class RandomPolicy(ScriptedPolicy):
    """Acts at random for one episode."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._story: Sequence[ParsedSentence] | None = None
        self._numbers: list[str] = []

    def _move(self, observation: str) -> Move:
        rng = self._rng
        self._numbers += _NUMBER.findall(observation) or ["1"]
        if self._story is None:
            self._story = _parse_story(observation.partition("\nYour task is to:")[0].strip())
        elif rng.random() < _FINISH_CHANCE:
            number, question = rng.choice(self._numbers), f"{self._story[-1][0]} " if self._story else ""
            return f"{question}I have seen {number}.", f"finish[{number}]"
        return random_step(self._story, self._numbers, rng)


def random_step(story: Sequence[ParsedSentence], numbers: Sequence[str], rng: Random) -> Move:
    """A random calculation, from a sentence of the problem or with two numbers; never an answer."""
    steps = [one for one in story if one[1].keys(one[2])]
    if not steps or rng.random() < _FREE_CALCULATION_SHARE:
        return _free_calculation(numbers, rng)
    words, sentence, slots = rng.choice(steps)
    given = {one.key(slots): slots["a"] for _, one, slots in story if one.formula == "{a}"}
    memory: dict[str, str] = {}
    thought = [words]
    for key in sentence.keys(slots):
        if key in given and rng.random() < _GIVEN_SHARE:
            memory[key] = given[key]
            thought += sentence.recalled(slots, {key: given[key]})
        else:
            memory[key] = rng.choice(numbers)
            thought.append(f"I start with {memory[key]}.")
    value = sentence.calculation(slots, memory)
    return (" ".join(thought), f"calculate[{value}]") if not value.isdigit() else _free_calculation(numbers, rng)


def _free_calculation(numbers: Sequence[str], rng: Random) -> Move:
    a, b = rng.choice(numbers), rng.choice(numbers)
    operator = rng.choice(sorted(_OPERATORS))
    return _OPERATORS[operator].format(a=a, b=b), f"calculate[{a} {operator} {b}]"


def _parse_story(text: str) -> Sequence[ParsedSentence]:
    """Parse a word problem; empty if it is not a generated one."""
    try:
        return read_story(text)
    except ValueError:
        return ()
