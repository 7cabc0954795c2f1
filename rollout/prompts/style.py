"""The interface of prompt styles: the fixed texts of a prompt, and a parser of model output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rollout.errors import UserError
from rollout.grammar import Choice, Grammar
from rollout.prompts.example import DemonstrationTurn, Example
from rollout.trajectory import Kind

INVENTED_OBSERVATION = (
    "\nObservation",
    "\nobservation",
    "\n**Observation",
    "\n### Observation",
    "\nOBSERVATION",
    "\n\u89c2\u5bdf",
)
"""Stop strings that end a turn in which the model invents an observation, the most frequent first.

Without the colon they match numbered labels, too. Engines compare literally, so other spellings do not stop a
completion; what they label is recorded as trailing text all the same.
"""


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """The parsed text of one turn.

    Attributes:
        spans: (kind, end) in order; kinds are reason, act, format and trailing. A span covers the characters from the
            end of the span before it up to ``end``.
        action: the action to send to the environment, stripped; None if the text contains none.
    """

    spans: tuple[tuple[Kind, int], ...]
    action: str | None


class Style(Protocol):
    """Renders an agent's prompts and parses its turns. Styles are immutable and stateless."""

    @property
    def name(self) -> str:
        """Name of the style, recorded with every trajectory."""

    @property
    def instructions(self) -> str:
        """The system message."""

    @property
    def examples(self) -> tuple[Example, ...]:
        """Demonstrations that are shown before the task."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings that end a turn, in addition to the end-of-turn token. They are kept in the completion.

        A server with a limit on their number may get the first ones only: `parse` does not depend on them.
        """

    @property
    def no_action(self) -> str:
        """Observation after a turn without an action."""

    def task(self, instruction: str) -> str:
        """Render the task instruction, which follows the first observation."""

    def example(self, example: Example) -> str:
        """Render a demonstration, which precedes the task."""

    def hint(self, text: str) -> str:
        """Render a hint, which precedes the task."""

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        """Render one turn of a demonstration as (assistant's text, next observation)."""

    def turn_prefix(self, thought: str) -> str:
        """Render the beginning of a turn with a thought that the model continues.

        Raises:
            UserError: turns of this style do not begin with a thought.
        """

    def parse(self, text: str) -> ParsedTurn:
        """Parse the text of one turn. Any text is accepted; the spans cover it exactly."""

    def turn_grammar(self, action: Choice) -> Grammar:
        """Grammar of the turns whose action is one of ``action``; `parse` finds the action in such a turn.

        Raises:
            UserError: ``action`` lists whole actions, but a turn of this style does not consist of one action.
        """

    def environment_text(self, observation: str) -> str:
        """Extract the environment's text from an observation after a turn of this style: the inverse of `turn`."""


@dataclass(frozen=True, slots=True)
class BaseStyle(ABC):
    """Base class of the styles, with the texts that they share.

    Attributes:
        instructions: the system message.
        examples: demonstrations that are shown before the task.
        name: name of the style, recorded with every trajectory.
    """

    instructions: str
    examples: tuple[Example, ...] = ()

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = INVENTED_OBSERVATION
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

    def environment_text(self, observation: str) -> str:
        return observation

    def turn_prefix(self, thought: str) -> str:
        raise UserError(
            f"a turn of the style {self.name} does not begin with a thought; set agent.style to react or codeact"
        )

    @abstractmethod
    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        """Render one turn of a demonstration as (assistant's text, next observation)."""


def make_spans(*spans: tuple[Kind, int]) -> tuple[tuple[Kind, int], ...]:
    """Spans for `ParsedTurn`, without those that are empty."""
    kept: list[tuple[Kind, int]] = []
    for kind, end in spans:
        if end > (kept[-1][1] if kept else 0):
            kept.append((kind, end))
    return tuple(kept)
