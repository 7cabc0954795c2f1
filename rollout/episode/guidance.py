"""What an agent is given besides its task: advice from earlier episodes, and words that its first turn begins with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rollout.environment import Reset, Task


@dataclass(frozen=True, slots=True)
class Guidance:
    """For one episode.

    Attributes:
        hints: advice that is shown before the task, and that a student never sees.
        first_thought: what the agent's first thought begins with; it goes on from there.
    """

    hints: tuple[str, ...] = ()
    first_thought: str = ""


NONE = Guidance()
Guide = Callable[[Task, Reset], Awaitable[Guidance]]
"""Decides once, when an episode has begun, from the task and what is seen first."""


def always(*hints: str, first_thought: str = "") -> Guide:
    """The same guidance for every episode."""

    async def guide(task: Task, reset: Reset) -> Guidance:
        return Guidance(hints, first_thought)

    return guide
