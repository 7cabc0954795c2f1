"""The ReAct style: a thought, then an action.

Source: ReAct (Yao et al., 2023), in the format of its ALFWorld agents.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.labels import FIRST_THOUGHT, parse_labeled
from rollout.prompts.style import BaseStyle, ParsedTurn

TURN_FORMAT = """\
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to do next
Action: one of the actions below"""
"""Tells the agent the format of a turn."""


@dataclass(frozen=True, slots=True)
class ReActStyle(BaseStyle):
    """A thought and an action (`rollout.prompts.style.Style`)."""

    name = "react"

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        return f"Thought: {turn.thought}\nAction: {turn.action}", turn.observation

    def turn_prefix(self, thought: str) -> str:
        return f"Thought: {thought}"

    def parse(self, text: str) -> ParsedTurn:
        """Split a turn as `parse_labeled` does. ``Thought:`` at the start is format and optional."""
        return parse_labeled(text, FIRST_THOUGHT)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Thought: ", FreeText(), "\nAction: ", action))
