"""The Act style: an action without a thought, the action-only baseline of ReAct (Yao et al., 2023)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.grammar import Choice, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import BaseStyle, ParsedTurn, make_spans
from rollout.trajectory import Kind

_MARKER_LINE = re.compile(r"(?:\A|\n)[ \t]*Action:")
_MARKER_ANYWHERE = re.compile(r"Action:")

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
        """Split the text of one turn into act, reason and format. Any text is accepted.

        The marker ``Action:`` is found as in ReAct. The act is the text from the marker to the end of its line; without
        a marker it is the first line that is not empty. Text before the marker is reason; the rest is format.
        """
        marker = _MARKER_LINE.search(text) or _MARKER_ANYWHERE.search(text)
        start, end = marker.span() if marker else (0, 0)
        action, line_break, rest = text[end:].lstrip().partition("\n")
        spans = make_spans(
            (Kind.REASON, start),
            (Kind.FORMAT, end),
            (Kind.ACT if action else Kind.FORMAT, len(text) - len(line_break + rest)),
            (Kind.FORMAT, len(text)),
        )
        return ParsedTurn(spans, action.strip() or None)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Action: ", action))
