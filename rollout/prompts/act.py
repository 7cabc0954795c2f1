"""The Act style: an action and no thought, as ReAct's own baseline has it (Yao et al., 2023)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.grammar import Choice, Grammar
from rollout.prompts.example import WorkedTurn
from rollout.prompts.style import Parsed, SharedWords, cut
from rollout.trajectory import Kind

_MARK_LINE = re.compile(r"(?:\A|\n)[ \t]*Action:")
_MARK_ANYWHERE = re.compile(r"Action:")

FORM = """\
In each turn write one action and nothing else:
Action: one of the actions below"""
"""How a turn is written, in words for the agent."""


@dataclass(frozen=True, slots=True)
class ActStyle(SharedWords):
    """An action alone (`rollout.prompts.style.Style`)."""

    name = "act"

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        return f"Action: {turn.action}", turn.observation

    def parse(self, text: str) -> Parsed:
        """Cut what a model wrote in one turn into act and format. Any text is accepted.

        The mark is found as in ReAct, and what follows it to the end of its line is the act; without a mark the first
        line that is not empty is. What comes before a mark was thought all the same, and is reason; the rest is format.
        """
        mark = _MARK_LINE.search(text) or _MARK_ANYWHERE.search(text)
        start, end = mark.span() if mark else (0, 0)
        action, line_break, rest = text[end:].lstrip().partition("\n")
        spans = cut(
            (Kind.REASON, start),
            (Kind.FORMAT, end),
            (Kind.ACT if action else Kind.FORMAT, len(text) - len(line_break + rest)),
            (Kind.FORMAT, len(text)),
        )
        return Parsed(spans, action.strip() or None)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Action: ", action))
