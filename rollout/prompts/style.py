"""What a prompt style is: the texts around an episode, and a parser that cuts what a model wrote by provenance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rollout.errors import UserError
from rollout.grammar import Choice, Grammar
from rollout.prompts.example import Example, WorkedTurn
from rollout.trajectory import Kind


@dataclass(frozen=True, slots=True)
class Parsed:
    """A completion's text, cut.

    Attributes:
        spans: (kind, end) in order: characters up to ``end``, from the end of the span before, are of ``kind``.
        action: what to send to the environment, stripped; None if there is none.
    """

    spans: tuple[tuple[Kind, int], ...]
    action: str | None


class Style(Protocol):
    """How an agent is told what to do, and how its answers are read. A value without state."""

    @property
    def name(self) -> str:
        """Recorded with every trajectory."""
        ...

    @property
    def instructions(self) -> str:
        """The system message."""
        ...

    @property
    def examples(self) -> tuple[Example, ...]:
        """Worked episodes that are shown before the task."""
        ...

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a turn, beside the model's own end-of-turn token; they stay in the completion."""
        ...

    @property
    def no_action(self) -> str:
        """What the agent observes after a turn without an action."""
        ...

    def task(self, instruction: str) -> str:
        """The task's statement, after the first observation."""
        ...

    def example(self, example: Example) -> str:
        """A worked episode, before the task."""
        ...

    def hint(self, text: str) -> str:
        """A hint, before the task."""
        ...

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        """A worked turn as (assistant's text, the observation that answers it)."""
        ...

    def begun(self, thought: str) -> str:
        """How a turn begins with this thought; the model goes on from there. `UserError` in a style without one."""
        ...

    def parse(self, text: str) -> Parsed:
        """Cut what a model wrote in one turn. Any text is accepted; the spans cover it exactly."""
        ...

    def turn_grammar(self, action: Choice) -> Grammar:
        """What a turn with such an action looks like; `parse` finds the action in it.

        Raises:
            UserError: actions are listed, and a turn of this style does not end in one action.
        """
        ...

    def world_said(self, observation: str) -> str:
        """What the world said, of an observation that answers a turn of this style: the inverse of `turn`."""
        ...


@dataclass(frozen=True, slots=True)
class SharedWords(ABC):
    """The base of all our styles: the words that they have in common.

    Attributes:
        instructions: the system message.
        examples: worked episodes that are shown before the task.
        name: recorded with every trajectory.
    """

    instructions: str
    examples: tuple[Example, ...] = ()

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = ()
    no_action: ClassVar[str] = "Nothing happens."

    def task(self, instruction: str) -> str:
        return f"\nYour task is to: {instruction}."

    def hint(self, text: str) -> str:
        return f"Hint: {text}\n\n"

    def example(self, example: Example) -> str:
        if isinstance(example, str):
            return f"Here is an example.\n{example}\n\n"
        lines = [f"{example.observation}{self.task(example.instruction)}"]
        for turn in example.turns:
            lines += self.turn(turn)
        return self.example("\n".join(lines))

    def world_said(self, observation: str) -> str:
        return observation

    def begun(self, thought: str) -> str:
        raise UserError(
            f"a turn of the style {self.name} does not begin with a thought; set agent.style to react or codeact"
        )

    @abstractmethod
    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        """A worked turn as (assistant's text, the observation that answers it)."""


def cut(*spans: tuple[Kind, int]) -> tuple[tuple[Kind, int], ...]:
    """Spans for `Parsed`, with those dropped that end no later than the one before."""
    kept: list[tuple[Kind, int]] = []
    for kind, end in spans:
        if end > (kept[-1][1] if kept else 0):
            kept.append((kind, end))
    return tuple(kept)
