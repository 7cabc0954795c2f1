"""A player with words and no aim: it calculates with what it reads, in any order, then gives some number as the answer.

Whatever its thoughts state is true, but nothing it does serves the question. A model trained on such play knows the
language of the problems, can copy sentences and numbers and call the calculator, and has no policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from rollout.environments.math.stories import Told, read_story
from rollout.environments.scripted import Move, ScriptedPolicy

_NUMBER = re.compile(r"(?<![\d.])\d{1,4}(?!\d|\.\d)")
"""A whole number of common size."""
_FINISH_SHARE = 0.2
_BY_HEART_SHARE = 0.15
"""Share of calculations that follow no sentence of the problem."""
_GIVEN_SHARE = 0.5
"""How often a value that the problem gives is used, where it gives one."""
_OPERATORS = {"+": "I add {b} to {a}.", "-": "I subtract {b} from {a}.", "*": "I multiply {a} by {b}."}


class RandomPolicy(ScriptedPolicy):
    """Plays one maths episode at random."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._told: Sequence[Told] | None = None
        self._numbers: list[str] = []

    def _move(self, observation: str) -> Move:
        rng = self._rng
        self._numbers += _NUMBER.findall(observation) or ["1"]
        if self._told is None:
            self._told = _told(observation.partition("\nYour task is to:")[0].strip())
        elif rng.random() < _FINISH_SHARE:
            number, question = rng.choice(self._numbers), f"{self._told[-1][0]} " if self._told else ""
            return f"{question}I have seen {number}.", f"finish[{number}]"
        return random_step(self._told, self._numbers, rng)


def random_step(told: Sequence[Told], numbers: Sequence[str], rng: Random) -> Move:
    """A random calculation: what some sentence says with some number, or one of two numbers; never an answer."""
    steps = [one for one in told if one[1].keys(one[2])]
    if not steps or rng.random() < _BY_HEART_SHARE:
        return _by_heart(numbers, rng)
    words, sentence, slots = rng.choice(steps)
    given = {one.key(slots): slots["a"] for _, one, slots in told if one.formula == "{a}"}
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
    return (" ".join(thought), f"calculate[{value}]") if not value.isdigit() else _by_heart(numbers, rng)


def _by_heart(numbers: Sequence[str], rng: Random) -> Move:
    a, b = rng.choice(numbers), rng.choice(numbers)
    operator = rng.choice(sorted(_OPERATORS))
    return _OPERATORS[operator].format(a=a, b=b), f"calculate[{a} {operator} {b}]"


def _told(text: str) -> Sequence[Told]:
    """The problem's sentences; none if it is not in the language of generated word problems."""
    try:
        return read_story(text)
    except ValueError:
        return ()
