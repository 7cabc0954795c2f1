"""Guidance of an agent beside its task: hints from earlier episodes, and the beginning of its first thought."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rollout.environment import Reset, Task


@dataclass(frozen=True, slots=True)
class Guidance:
    """Guidance for one episode.

    Attributes:
        hints: hints that are shown before the task; a student never sees them.
        first_thought: beginning of the agent's first thought, which the agent continues.
    """

    hints: tuple[str, ...] = ()
    first_thought: str = ""


NO_GUIDANCE = Guidance()
Guide = Callable[[Task, Reset], Awaitable[Guidance]]
"""Called once at the start of an episode with the task and the first observation."""


def constant_guidance(*hints: str, first_thought: str = "") -> Guide:
    """Create a guide that returns the same guidance for every episode."""

    async def guide(task: Task, reset: Reset) -> Guidance:
        return Guidance(hints, first_thought)

    return guide
