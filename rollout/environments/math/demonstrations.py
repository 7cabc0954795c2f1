"""Worked maths episodes for any prompt style: our expert's, on a word problem and on one for Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from rollout.environment import Task
from rollout.environments.demonstrate import demonstrate
from rollout.environments.math.config import MathConfig
from rollout.environments.math.environment import MathEnvironment
from rollout.environments.math.expert_policy import NO_MISTAKES, MathExpert
from rollout.environments.math.generator import MathTasks, generate_problem
from rollout.prompts import codeact
from rollout.prompts.example import Demonstration, State
from rollout.prompts.tool import Tool

TOOLS: tuple[Tool, ...] = ()
"""Code needs no function of ours to calculate; ``finish`` is final_answer."""

_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


class StateKeeper:
    """What an agent of one episode can write down: what is asked for, and the numbers it has worked out."""

    def __init__(self) -> None:
        self._goal = ""
        self._results: list[str] = []

    def __call__(self, observation: str) -> State:
        """Take in what the agent reads: the first user message, then each observation."""
        if not self._goal:
            problem = observation.rpartition("\nYour task is to: ")[0]
            self._goal = " ".join(_SENTENCE.split(problem.strip())[-1].split())
        elif _NUMBER.fullmatch(observation.strip()):
            self._results.append(observation.strip())
        return (("goal", self._goal), ("results", ", ".join(self._results)))


def as_code(action: str) -> str:
    """An action of our players as Python: ``calculate[2 * 3]`` as ``print(2 * 3)``, an answer as final_answer."""
    name, _, argument = action.removesuffix("]").partition("[")
    if name == "python":
        return argument
    if name == "calculate":
        # The calculator shows whole quotients without a point, and no more than ten digits.
        return f'print(f"{{{argument}:.10g}}")' if "/" in argument else f"print({argument})"
    return codeact.as_code(action)


@cache
def math_demonstrations() -> tuple[Demonstration, ...]:
    """Episodes of the expert on fixed problems: the same in every process."""
    word_problem = MathTasks(("collection",)).tasks("train", 45)[44]
    return (_play(word_problem), _play(MathTasks(("counting",)).tasks("train", 1)[0]))


def _play(task: Task) -> Demonstration:
    environment = MathEnvironment(MathConfig(), _Prints(generate_problem(task.payload).answer))
    return demonstrate(environment, task, MathExpert(error_rates=NO_MISTAKES), state=StateKeeper(), code=as_code)


@dataclass(frozen=True, slots=True)
class _Prints:
    """A `rollout.environments.math.environment.CodeRunner` for the one line that works out the answer."""

    answer: str

    def run(self, code: str) -> str:
        return self.answer

    def fork(self) -> _Prints:
        return self

    def close(self) -> None:
        """Nothing to end."""
