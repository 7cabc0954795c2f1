"""A wrapper whose actions are Python code that calls functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rollout.environment import Environment, Reset, Step, Task
from rollout.environments.wrappers.base import EnvironmentWrapper
from rollout.prompts.codeact import error, observation
from rollout.prompts.tool import ACT, Tool
from rollout.tools.sandbox.errors import ToolError
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.session import CallResult, Session


class CodeActEnvironment(EnvironmentWrapper):
    """An environment with code as actions, for the style ``codeact``.

    A step runs one block of code in the interpreter of the episode; the code may act any number of times.
    ``final_answer`` ends the episode.

    Args:
        inner: the environment in which the code acts.
        sandbox: runs the code.
        tools: functions for the code: actions of the environment, or Python functions.
        finish: template of the answer action (``finish[{}]``); None if the environment accepts no answer.
    """

    # Programs cannot be listed and have no action templates.
    action_templates = ()
    open_actions = None

    def __init__(
        self, inner: Environment, sandbox: Sandbox, tools: Sequence[Tool] = (ACT,), finish: str | None = None
    ) -> None:
        super().__init__(inner)
        self._sandbox = sandbox
        self._tools = tools
        self._functions = {tool.name: self._function(tool) for tool in tools}
        self._finish = finish
        self._session: Session | None = None
        self._steps: list[Step] = []
        self._over = False

    def reset(self, task: Task) -> Reset:
        """Start ``task`` with a new interpreter. Exceptions of the environment propagate."""
        self._end_session()
        self._over = False
        return super().reset(task)

    def step(self, action: str) -> Step:
        """Run code.

        Raises:
            SandboxError: the interpreter cannot be started.
        """
        if self._session is None:
            self._session = self._sandbox.session(self._functions)
        self._steps = []
        result = self._session.run(action)
        if result.final_answer is not None and not self._over:
            self._answer(result.final_answer)
        return self._summary(result)

    def admissible_actions(self) -> None:
        """None: programs cannot be listed."""

    def close(self) -> None:
        self._end_session()
        super().close()

    def _around(self, inner: Environment) -> CodeActEnvironment:
        """A copy with its own interpreter, independent of this one.

        Several copies can run code concurrently in threads.

        Raises:
            SandboxError: the interpreter cannot be copied.
        """
        twin = CodeActEnvironment(inner, self._sandbox, self._tools, self._finish)
        twin._over = self._over
        if self._session is not None:
            twin._session = self._session.fork(twin._functions)
        return twin

    def _function(self, tool: Tool) -> Callable[..., Any]:
        if tool.function:
            return tool.load_function()

        def call(argument: str) -> str:
            if not isinstance(argument, str):
                raise ToolError(f"{tool.name} takes a text")
            if self._over:
                raise ToolError("the task is over")
            return self._act(tool.action.replace("{}", argument))

        return call

    def _act(self, action: str) -> str:
        step = super().step(action)
        self._steps.append(step)
        self._over = step.done
        return step.observation

    def _answer(self, answer: str) -> None:
        if self._finish is not None:
            self._act(self._finish.replace("{}", answer))
        self._over = True

    def _summary(self, result: CallResult) -> Step:
        """Combine all actions of the code into one step."""
        steps = self._steps
        text = error(result.error, result.stdout) if result.error else observation(result.stdout, result.value)
        return Step(
            observation=text,
            reward=sum((step.reward for step in steps), 0.0),
            done=self._over,
            success=any(step.success for step in steps),
            valid=result.error is None and all(step.valid for step in steps),
            dialect=next((step.dialect for step in reversed(steps) if step.dialect), ""),
            scores={name: score for step in steps for name, score in step.scores.items()},
            answer=result.final_answer,
        )

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None
