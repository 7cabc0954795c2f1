"""Maths problems as an environment: ``calculate[…]``, ``python[…]`` and ``finish[…]``."""

from __future__ import annotations

import re
from copy import copy
from typing import Protocol

from rollout.environment import Reset, Step, Task
from rollout.environments.math.calculator import CalculationError, calculate
from rollout.environments.math.config import MathConfig
from rollout.environments.math.generator import generate_problem
from rollout.environments.math.grading.verify import AnswerChecker, shared_checker

INSTRUCTION = "answer the question"
"""The task in words, for every problem."""
NO_OUTPUT = "(no output)"
MAX_OBSERVATION = 2000
"""Characters shown of what code printed."""

_ACTION = re.compile(r"\s*(?P<name>calculate|python|finish)\s*\[(?P<argument>.*)\]\s*", re.DOTALL | re.IGNORECASE)
_HELP = "Use calculate[expression], python[code] or finish[answer]."
_OVER = "The episode is over."


class CodeRunner(Protocol):
    """Runs code of a model, in isolation, for one episode: variables live on from call to call."""

    def run(self, code: str) -> str:
        """What the code printed, or a sentence about what went wrong. Raises nothing that the code can cause."""
        ...

    def fork(self) -> CodeRunner:
        """A copy with all variables as they are now."""
        ...

    def close(self) -> None:
        """End the episode; what the code left behind is gone."""
        ...


class MathEnvironment:
    """Plays generated problems (payload as `generate_problem` takes it) and given ones (``{"problem", "answer"}``).

    Args:
        config: of the recipe.
        runner: executes ``python[…]``; None if there is no Python here, which such an action is then told.
        checker: judges answers; by default the one that this process shares.

    Raises:
        UserError: math-verify is not installed.
    """

    blocking = True
    """A step may wait for the checker's process or for code: callers with an event loop step in a thread."""
    action_templates = ("calculate[{}]", "python[{}]", "finish[{}]")

    def __init__(
        self, config: MathConfig, runner: CodeRunner | None = None, checker: AnswerChecker | None = None
    ) -> None:
        self._runner = runner
        self._checker = checker or shared_checker(config.check_cpu_limit_s)
        self._right: str | None = None
        self._over: Step | None = None

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its payload is damaged."""
        problem, self._right = _problem(task)
        self._over = None
        if self._runner:
            self._runner.close()
        return Reset(observation=problem, instruction=INSTRUCTION)

    def step(self, action: str) -> Step:
        """Do one action. The first ``finish`` ends the episode, with reward 1 if the answer is right."""
        if self._right is None:
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
                return self._finish(argument, self._right)

    def admissible_actions(self) -> None:
        """None: there is no end of numbers."""
        return

    def fork(self) -> MathEnvironment:
        """A copy of the episode, with an interpreter of its own; the checker is shared."""
        twin = copy(self)
        twin._runner = self._runner and self._runner.fork()
        return twin

    def close(self) -> None:
        if self._runner:
            self._runner.close()
        self._right = None

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
    """Text and right answer."""
    payload = task.payload
    if "generator" in payload:
        problem = generate_problem(payload)
        return problem.text, problem.answer
    text, answer = payload.get("problem"), payload.get("answer")
    if not (isinstance(text, str) and isinstance(answer, str) and text.strip() and answer.strip()):
        raise ValueError(f"the task {task.id} has no problem or no answer; make the tasks again")
    return text, answer
