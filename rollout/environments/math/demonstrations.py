"""Demonstrations for every prompt style: expert episodes on a word problem and on a problem for Python."""

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
"""Empty: code calculates without a tool, and ``finish`` is final_answer."""

_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


class StateKeeper:
    """Tracks the state that an agent can write down in one episode: the question and the calculated numbers."""

    def __init__(self) -> None:
        self._goal = ""
        self._results: list[str] = []

    def __call__(self, observation: str) -> State:
        """Update the state from the first user message or an observation, and return it."""
        if not self._goal:
            problem = observation.rpartition("\nYour task is to: ")[0]
            self._goal = " ".join(_SENTENCE.split(problem.strip())[-1].split())
        elif _NUMBER.fullmatch(observation.strip()):
            self._results.append(observation.strip())
        return (("goal", self._goal), ("results", ", ".join(self._results)))


def as_code(action: str) -> str:
    """Convert an action of a scripted policy to Python: ``calculate[2 * 3]`` becomes ``print(2 * 3)``."""
    name, _, argument = action.removesuffix("]").partition("[")
    if name == "python":
        return argument
    if name == "calculate":
        # The calculator writes integral quotients without a decimal point, and at most ten digits.
        return f'print(f"{{{argument}:.10g}}")' if "/" in argument else f"print({argument})"
    return codeact.as_code(action)


@cache
def math_demonstrations() -> tuple[Demonstration, ...]:
    """Expert episodes on fixed problems, identical in every process."""
    word_problem = MathTasks(("collection",)).tasks("train", 45)[44]
    return (_demonstrate(word_problem), _demonstrate(MathTasks(("counting",)).tasks("train", 1)[0]))


def _demonstrate(task: Task) -> Demonstration:
    environment = MathEnvironment(MathConfig(), _FixedOutput(generate_problem(task.payload).answer))
    return demonstrate(environment, task, MathExpert(error_rates=NO_MISTAKES), state=StateKeeper(), code=as_code)


@dataclass(frozen=True, slots=True)
class _FixedOutput:
    """A `rollout.environments.math.environment.CodeRunner` that returns the answer for any code."""

    answer: str

    def run(self, code: str) -> str:
        return self.answer

    def fork(self) -> _FixedOutput:
        return self

    def close(self) -> None:
        """Nothing to end."""
