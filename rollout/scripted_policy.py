"""Interfaces of policies that generate text without a model: expert and random policies."""

from __future__ import annotations

from typing import Protocol


class TextPolicy(Protocol):
    """Acts in one episode from the messages that an agent reads. Each episode has its own object."""

    def respond(self, observation: str) -> str:
        """Return the complete reply to a user message: ``Thought: ...`` and ``Action: ...``.

        The first call receives the first user message (first observation and task), later calls the next observation.
        """


class Reasoner(Protocol):
    """Solves a task in one turn from its first message; for the style ``cot``."""

    def reason(self, observation: str) -> tuple[str, str]:
        """Return the reasoning steps, separated by empty lines, and the answer."""
