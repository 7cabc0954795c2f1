"""Policies that write text without a model: the interface of experts and random policies."""

from __future__ import annotations

from typing import Protocol


class TextPolicy(Protocol):
    """Plays one episode from what an agent can read; one object an episode."""

    def respond(self, observation: str) -> str:
        """The whole answer to a user message: ``Thought: ...`` and ``Action: ...``.

        The first call gets the first user message (first observation and task), each later call the next observation.
        """
        ...


class Reasoner(Protocol):
    """Solves a task in one turn, from what stands in its first message; for the style ``cot``."""

    def reason(self, observation: str) -> tuple[str, str]:
        """The steps, an empty line between two of them, and the answer."""
        ...
