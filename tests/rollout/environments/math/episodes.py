"""Episodes without an engine."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO

from rollout.environment import Environment, Task
from rollout.scripted_policy import TextPolicy

TURN = re.compile(r"Thought: (.+)\nAction: (.+)")


class TrustingRunner:
    """Runs the expert's code in the process of the test."""

    def __init__(self) -> None:
        self._names: dict[str, object] = {}

    def run(self, code: str) -> str:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(code, self._names)  # noqa: S102
        return printed.getvalue()

    def close(self) -> None:
        self._names = {}


def roll_out(
    environment: Environment, task: Task, policy: TextPolicy, limit: int = 10
) -> tuple[bool, list[tuple[str, str, str]], str]:
    """Whether the policy solved the task, (thought, action, observation) of each turn, and the first message."""
    reset = environment.reset(task)
    first = text = f"{reset.observation}\nYour task is to: {reset.instruction}."
    turns = []
    for _ in range(limit):
        match = TURN.fullmatch(policy.respond(text))
        assert match
        step = environment.step(match.group(2))
        text = step.observation
        turns.append((match.group(1), match.group(2), text))
        if step.done:
            return step.success, turns, first
    return False, turns, first
