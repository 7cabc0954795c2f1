"""Worked episodes from play: a text policy plays a task, and what it thought and did becomes a demonstration."""

from __future__ import annotations

from collections.abc import Callable

from rollout.environment import Environment, Task
from rollout.policy import TextPolicy
from rollout.prompts.example import Demonstration, State, WorkedTurn
from rollout.prompts.react import ReActStyle
from rollout.trajectory import Kind

StateKeeper = Callable[[str], State]
"""Takes what the agent reads, as `TextPolicy.respond` does, and gives the state that it can then write down."""
CodeWriter = Callable[[str], str]
"""An action of the environment as Python that prints the observation."""


def demonstrate(
    environment: Environment,
    task: Task,
    policy: TextPolicy,
    *,
    state: StateKeeper | None = None,
    code: CodeWriter | None = None,
    max_steps: int = 60,
) -> Demonstration:
    """Let ``policy`` play ``task`` to its end.

    Raises:
        ValueError: it does not solve the task within ``max_steps``, or writes something else than a thought and an
            action.
    """
    style = ReActStyle("")
    reset = environment.reset(task)
    read = reset.observation + style.task(reset.instruction)
    turns: list[WorkedTurn] = []
    while len(turns) < max_steps:
        known = state(read) if state else None
        thought, action = _thought_and_action(style, policy.respond(read))
        step = environment.step(action)
        read = step.observation
        turns.append(WorkedTurn(thought, action, read, known, code(action) if code else None))
        if step.done:
            break
    if not (turns and step.success):
        raise ValueError(f"the policy does not solve {task.id} within {max_steps} steps, so it shows nothing")
    return Demonstration(reset.instruction, reset.observation, tuple(turns))


def _thought_and_action(style: ReActStyle, text: str) -> tuple[str, str]:
    parsed = style.parse(text)
    if parsed.action is None:
        raise ValueError(f"there is no action in {text[:120]!r}")
    start, thought = 0, ""
    for kind, end in parsed.spans:
        thought += text[start:end] if kind is Kind.REASON else ""
        start = end
    return thought.strip(), parsed.action
