"""Converts turns of scripted policies to demonstrations and to other prompt styles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rollout.environment import Environment, Task
from rollout.prompts.example import Demonstration, DemonstrationTurn, State
from rollout.prompts.react import ReActStyle
from rollout.prompts.style import Style
from rollout.scripted_policy import TextPolicy
from rollout.trajectory import Kind

StateKeeper = Callable[[str], State]
"""Called with each text that the agent reads, like `TextPolicy.respond`; returns the state to write down."""
CodeWriter = Callable[[str], str]
"""Converts an action to Python that prints the observation."""

_REACT = ReActStyle("")


class TurnMaker:
    """Runs a text policy and adds state and code to each of its turns."""

    def __init__(self, policy: TextPolicy, state: StateKeeper | None = None, code: CodeWriter | None = None) -> None:
        self._policy, self._state, self._code = policy, state, code

    def turn(self, read: str) -> DemonstrationTurn:
        """The policy's turn after ``read``, with an empty observation.

        Raises:
            ValueError: the policy's text has no action.
        """
        known = self._state(read) if self._state else None
        thought, action = _thought_and_action(self._policy.respond(read))
        return DemonstrationTurn(thought, action, "", known, self._code(action) if self._code else None)


class StyledPolicy:
    """A policy that writes the turns of another one in a prompt style (`rollout.scripted_policy.TextPolicy`)."""

    def __init__(self, maker: TurnMaker, style: Style) -> None:
        self._maker, self._style = maker, style

    def respond(self, observation: str) -> str:
        text, _ = self._style.turn(self._maker.turn(self._style.environment_text(observation)))
        return text


def demonstrate(
    environment: Environment,
    task: Task,
    policy: TextPolicy,
    *,
    state: StateKeeper | None = None,
    code: CodeWriter | None = None,
    max_steps: int = 60,
) -> Demonstration:
    """Run ``policy`` on ``task`` until the episode ends.

    Raises:
        ValueError: the policy does not solve the task within ``max_steps``, or a turn has no action.
    """
    maker = TurnMaker(policy, state, code)
    reset = environment.reset(task)
    read = reset.observation + _REACT.task(reset.instruction)
    turns: list[DemonstrationTurn] = []
    while len(turns) < max_steps:
        turn = maker.turn(read)
        step = environment.step(turn.action)
        read = step.observation
        turns.append(replace(turn, observation=read))
        if step.done:
            break
    if not (turns and step.success):
        raise ValueError(f"the policy does not solve {task.id} within {max_steps} steps, so there is no demonstration")
    return Demonstration(reset.instruction, reset.observation, tuple(turns))


def _thought_and_action(text: str) -> tuple[str, str]:
    parsed = _REACT.parse(text)
    if parsed.action is None:
        raise ValueError(f"there is no action in {text[:120]!r}")
    start, thought = 0, ""
    for kind, end in parsed.spans:
        thought += text[start:end] if kind is Kind.REASON else ""
        start = end
    return thought.strip(), parsed.action
