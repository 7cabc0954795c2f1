"""The ReAct style: a thought, then an action.

Source: ReAct (Yao et al., 2023), in the format of its ALFWorld agents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import BaseStyle, ParsedTurn, make_spans
from rollout.trajectory import Kind

_THOUGHT = re.compile(r"\s*Thought:")
_ACTION_LINE = re.compile(r"(?:\A|\n)[ \t]*Action:(?P<act>\s*[^\n]*)")
_ACTION_ANYWHERE = re.compile(r"Action:(?P<act>\s*[^\n]*)")

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
        """Split the text of one turn into reason, act and format. Any text is accepted.

        ``Thought:`` at the start is format and optional. The action's marker is the first ``Action:`` that begins a
        line; if no line begins with it, the first one anywhere. The act is the rest of that line, or the next line if
        the marker ends its line. All other text after the marker is format. Text without a marker is all reason.
        """
        thought = _THOUGHT.match(text)
        start = thought.end() if thought else 0
        marker = _ACTION_LINE.search(text) or _ACTION_ANYWHERE.search(text, start)
        if marker is None:
            return ParsedTurn(make_spans((Kind.FORMAT, start), (Kind.REASON, len(text))), None)
        action = marker["act"].strip() or None
        spans = make_spans(
            (Kind.FORMAT, start),
            (Kind.REASON, marker.start()),
            (Kind.FORMAT, marker.start("act")),
            (Kind.ACT if action else Kind.FORMAT, marker.end("act")),
            (Kind.FORMAT, len(text)),
        )
        return ParsedTurn(spans, action)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Thought: ", FreeText(), "\nAction: ", action))
