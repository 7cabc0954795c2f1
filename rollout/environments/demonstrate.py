"""Play in any prompt style: turns of a text policy are taken apart, to be shown as examples or written in a form."""

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
"""Takes what the agent reads, as `TextPolicy.respond` does, and gives the state that it can then write down."""
CodeWriter = Callable[[str], str]
"""An action of the environment as Python that prints the observation."""

_REACT = ReActStyle("")


class Played:
    """A class attribute: worked episodes that are played when they are first asked for, not at import."""

    def __init__(self, play: Callable[[], tuple[Demonstration, ...]]) -> None:
        self._play = play

    def __get__(self, instance: object, owner: type) -> tuple[Demonstration, ...]:
        return self._play()


class TurnMaker:
    """A text policy, and what goes with each of its turns."""

    def __init__(self, policy: TextPolicy, state: StateKeeper | None = None, code: CodeWriter | None = None) -> None:
        self._policy, self._state, self._code = policy, state, code

    def turn(self, read: str) -> DemonstrationTurn:
        """The turn that answers what was read; its own observation is still empty.

        Raises:
            ValueError: the policy writes something else than a thought and an action.
        """
        known = self._state(read) if self._state else None
        thought, action = _thought_and_action(self._policy.respond(read))
        return DemonstrationTurn(thought, action, "", known, self._code(action) if self._code else None)


class StyledPolicy:
    """Another policy, whose turns are written in the form of a style (`rollout.scripted_policy.TextPolicy`)."""

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
    """Let ``policy`` play ``task`` to its end.

    Raises:
        ValueError: it does not solve the task within ``max_steps``, or writes something else than a thought and an
            action.
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
        raise ValueError(f"the policy does not solve {task.id} within {max_steps} steps, so it shows nothing")
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
