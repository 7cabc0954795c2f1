"""Demonstrations that are shown before a task, in a structured form that each prompt style renders itself."""

from __future__ import annotations

from dataclasses import dataclass

State = tuple[tuple[str, str], ...]
"""Belief state of an agent before a turn: (key, value) pairs in the order in which they are written."""


@dataclass(frozen=True, slots=True)
class DemonstrationTurn:
    """One turn of a demonstration.

    Attributes:
        thought: the reasoning before the action, without a marker.
        action: the action in the environment's syntax.
        observation: the observation after the action.
        state: the belief state before the turn, for styles that write it; None if it is not available.
        code: the action as Python code that prints the observation; None means a call of ``act``.
    """

    thought: str
    action: str
    observation: str
    state: State | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A demonstration episode. ``instruction`` is the task in words, ``observation`` is the first observation."""

    instruction: str
    observation: str
    turns: tuple[DemonstrationTurn, ...]


Example = str | Demonstration
"""A string is shown unchanged in every style; a demonstration is rendered by the style."""
