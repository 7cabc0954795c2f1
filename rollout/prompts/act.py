"""The Act style: an action without a thought, the action-only baseline of ReAct (Yao et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.grammar import Choice, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.labels import FIRST_THOUGHT, parse_labeled
from rollout.prompts.style import BaseStyle, ParsedTurn

TURN_FORMAT = """\
In each turn write one action and nothing else:
Action: one of the actions below"""
"""Tells the agent the format of a turn."""


@dataclass(frozen=True, slots=True)
class ActStyle(BaseStyle):
    """Turns that consist of an action only (`rollout.prompts.style.Style`)."""

    name = "act"

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        return f"Action: {turn.action}", turn.observation

    def parse(self, text: str) -> ParsedTurn:
        """Split a turn as `parse_labeled` does. Without a label, the first line that is not empty is the action."""
        return parse_labeled(text, FIRST_THOUGHT, unlabeled=True)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Action: ", action))
