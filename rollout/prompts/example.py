"""Worked episodes that are shown before a task, as structure: each prompt style words them in its own form."""

from __future__ import annotations

from dataclasses import dataclass

State = tuple[tuple[str, str], ...]
"""What an agent knows to be so before a turn: (key, value) in the order in which they are written."""


@dataclass(frozen=True, slots=True)
class WorkedTurn:
    """One turn of a worked episode.

    Attributes:
        thought: why; without a mark.
        action: what is done, as the environment takes it.
        observation: what answers it.
        state: for styles that write it down; None if nobody kept it.
        code: the action as Python that prints the observation; None is a call of ``act``.
    """

    thought: str
    action: str
    observation: str
    state: State | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked episode. ``instruction`` is the task in words, ``observation`` what is seen first."""

    instruction: str
    observation: str
    turns: tuple[WorkedTurn, ...]


Example = str | Demonstration
"""Text is shown as it is, whatever the style; a demonstration in the style's form."""
