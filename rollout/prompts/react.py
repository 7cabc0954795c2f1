"""The ReAct style: a thought, then an action. All its texts, and the parser of what a model writes, in one place.

Source of the form: ReAct (Yao et al., 2023), as ALFWorld agents use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import WorkedTurn
from rollout.prompts.style import Parsed, SharedWords, cut
from rollout.trajectory import Kind

_THOUGHT = re.compile(r"\s*Thought:")
_ACTION_LINE = re.compile(r"(?:\A|\n)[ \t]*Action:(?P<act>\s*[^\n]*)")
_ACTION_ANYWHERE = re.compile(r"Action:(?P<act>\s*[^\n]*)")

FORM = """\
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to do next
Action: one of the actions below"""
"""How a turn is written, in words for the agent."""


@dataclass(frozen=True, slots=True)
class ReActStyle(SharedWords):
    """A thought and an action (`rollout.prompts.style.Style`)."""

    name = "react"

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        return f"Thought: {turn.thought}\nAction: {turn.action}", turn.observation

    def begun(self, thought: str) -> str:
        return f"Thought: {thought}"

    def parse(self, text: str) -> Parsed:
        """Cut what a model wrote in one turn into reason, act and format. Any text is accepted.

        ``Thought:`` at the start is format and may be missing. The action's mark is the first ``Action:`` that begins a
        line; only if no line begins so, the first one anywhere. What follows it, to the end of its line, is the act
        (the line may begin below the mark); the rest is format. Text without a mark is all reason.
        """
        thought = _THOUGHT.match(text)
        start = thought.end() if thought else 0
        mark = _ACTION_LINE.search(text) or _ACTION_ANYWHERE.search(text, start)
        if mark is None:
            return Parsed(cut((Kind.FORMAT, start), (Kind.REASON, len(text))), None)
        action = mark["act"].strip() or None
        spans = cut(
            (Kind.FORMAT, start),
            (Kind.REASON, mark.start()),
            (Kind.FORMAT, mark.start("act")),
            (Kind.ACT if action else Kind.FORMAT, mark.end("act")),
            (Kind.FORMAT, len(text)),
        )
        return Parsed(spans, action)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar(("Thought: ", FreeText(), "\nAction: ", action))
