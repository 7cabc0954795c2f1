"""The math environment: ``calculate[…]``, ``python[…]`` and ``finish[…]``."""

from __future__ import annotations

import re
from copy import copy
from typing import Protocol

from rollout.environment import Reset, Step, Task, TaskSource
from rollout.environments.math.calculator import CalculationError, calculate
from rollout.environments.math.config import MathConfig
from rollout.environments.math.datasets import DataSet
from rollout.environments.math.generator import MathTasks, generate_problem
from rollout.environments.math.grading.verify import AnswerChecker, shared_checker

INSTRUCTION = "answer the question"
"""Instruction of every task."""
NO_OUTPUT = "(no output)"
MAX_OBSERVATION = 2000
"""Maximum number of characters of printed output in an observation."""

_ACTION = re.compile(r"\s*(?P<name>calculate|python|finish)\s*\[(?P<argument>.*)\]\s*", re.DOTALL | re.IGNORECASE)
_HELP = "Use calculate[expression], python[code] or finish[answer]."
_OVER = "The episode is over."


class CodeRunner(Protocol):
    """Runs a model's code in isolation for one episode; variables persist between calls."""

    def run(self, code: str) -> str:
        """Return what the code printed, or its error as text. Code cannot make it raise an exception."""

    def fork(self) -> CodeRunner:
        """Copy the interpreter with its current variables."""

    def close(self) -> None:
        """End the episode and discard all variables."""


class MathEnvironment:
    """An environment for generated problems (payload of `generate_problem`) and for ``{"problem", "answer"}`` payloads.

    Args:
        config: configuration of the environment.
        runner: executes ``python[…]``; None makes every such action invalid.
        checker: checks answers; by default the checker shared by this process.

    Raises:
        UserError: math-verify is not installed.
    """

    action_templates = ("calculate[{}]", "python[{}]", "finish[{}]")

    def __init__(
        self, config: MathConfig, runner: CodeRunner | None = None, checker: AnswerChecker | None = None
    ) -> None:
        self._runner = runner
        self._checker = checker or shared_checker(config.check_cpu_limit_s)
        self._reference: str | None = None
        self._over: Step | None = None

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its payload is damaged."""
        problem, self._reference = _problem(task)
        self._over = None
        if self._runner:
            self._runner.close()
        return Reset(observation=problem, instruction=INSTRUCTION)

    def step(self, action: str) -> Step:
        """Execute an action. The first ``finish`` ends the episode, with reward 1 if the answer is right."""
        if self._reference is None:
            raise RuntimeError("reset must come before the first step")
        if self._over:
            return self._over
        match = _ACTION.fullmatch(action)
        if match is None:
            return Step(f"There is no such action. {_HELP}", valid=False)
        argument = match["argument"].strip()
        match match["name"].lower():
            case "calculate":
                return _calculate(argument)
            case "python":
                return self._python(argument)
            case _:
                return self._finish(argument, self._reference)

    def admissible_actions(self) -> None:
        """Return None: the set of expressions and answers is infinite."""

    def fork(self) -> MathEnvironment:
        """Copy the episode and its interpreter; the checker is shared."""
        clone = copy(self)
        clone._runner = self._runner and self._runner.fork()
        return clone

    def close(self) -> None:
        if self._runner:
            self._runner.close()
        self._reference = None

    def _python(self, code: str) -> Step:
        if self._runner is None:
            return Step("There is no Python here. Use calculate[expression] or finish[answer].", valid=False)
        printed = self._runner.run(code).strip()
        return Step(printed[:MAX_OBSERVATION] or NO_OUTPUT)

    def _finish(self, answer: str, right: str) -> Step:
        correct = self._checker.check(answer, right).correct
        self._over = Step(_OVER, done=True, success=correct, valid=False)
        said = "The answer is right." if correct else "The answer is wrong."
        return Step(said, reward=float(correct), done=True, success=correct, answer=answer)


def _calculate(expression: str) -> Step:
    try:
        return Step(calculate(expression))
    except CalculationError as error:
        return Step(f"Error: {error}.", valid=False)


def _problem(task: Task) -> tuple[str, str]:
    """Text and reference answer."""
    payload = task.payload
    if "generator" in payload:
        problem = generate_problem(payload)
        return problem.text, problem.answer
    text, answer = payload.get("problem"), payload.get("answer")
    if not (isinstance(text, str) and isinstance(answer, str) and text.strip() and answer.strip()):
        raise ValueError(f"the task {task.id} has no problem or no answer; make the tasks again")
    return text, answer


def make_environment(config: MathConfig) -> MathEnvironment:
    """Create an environment. Raises `UserError` if Python is on and no sandbox works on this machine."""
    if config.python == "off":
        return MathEnvironment(config)
    from rollout.environments.math.python_tool import SandboxRunner

    return MathEnvironment(config, SandboxRunner(config.sandbox))


def make_tasks(config: MathConfig) -> TaskSource:
    """Create the task source: generated problems or a data set."""
    if config.source == "generated":
        return MathTasks(config.generated_families())
    return DataSet(config.source, config.data_dir or "", config.columns)
