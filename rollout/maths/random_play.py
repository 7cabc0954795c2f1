"""A player with words and no aim: it calculates with numbers that it sees, then gives some number as the answer."""

from __future__ import annotations

import re
from random import Random

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FINISH_SHARE = 0.25
_OPERATORS = {"+": "I add {b} to {a}.", "-": "I subtract {b} from {a}.", "*": "I multiply {a} by {b}."}


class RandomPlayer:
    """Plays one maths episode at random (`rollout.policy.TextPolicy`); what its thoughts state is true."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = Random(seed)
        self._numbers: list[str] = []
        self._calculated = False

    def respond(self, observation: str) -> str:
        rng = self._rng
        self._numbers += _NUMBER.findall(observation) or ["1"]
        if self._calculated and rng.random() < _FINISH_SHARE:
            number = rng.choice(self._numbers)
            return f"Thought: I have seen {number}.\nAction: finish[{number}]"
        self._calculated = True
        a, b = rng.choice(self._numbers), rng.choice(self._numbers)
        operator = rng.choice(sorted(_OPERATORS))
        return f"Thought: {_OPERATORS[operator].format(a=a, b=b)}\nAction: calculate[{a} {operator} {b}]"
