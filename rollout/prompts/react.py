"""The ReAct style: a thought, then an action. All its texts, and the parser of what a model writes, in one place.

Source of the form: ReAct (Yao et al., 2023), as ALFWorld agents use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.trajectory import Kind

_THOUGHT = re.compile(r"\s*Thought:")
_ACTION_LINE = re.compile(r"(?:\A|\n)[ \t]*Action:(?P<act>\s*[^\n]*)")
_ACTION_ANYWHERE = re.compile(r"Action:(?P<act>\s*[^\n]*)")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A completion's text, cut.

    Attributes:
        spans: (kind, end) in order: characters up to ``end``, from the end of the span before, are of ``kind``.
        action: what to send to the environment, stripped; None if there is none.
    """

    spans: tuple[tuple[Kind, int], ...]
    action: str | None


@dataclass(frozen=True, slots=True)
class ReActStyle:
    """How an agent is told what to do, and how its answers are read.

    Attributes:
        instructions: the system message.
        examples: worked episodes that are shown before the task.
        name: recorded with every trajectory.
    """

    instructions: str
    examples: tuple[str, ...] = ()
    name: str = "react"

    no_action = "Nothing happens."
    """What the agent observes after a turn without an action."""

    def task(self, instruction: str) -> str:
        return f"\nYour task is to: {instruction}."

    def example(self, text: str) -> str:
        return f"Here is an example.\n{text}\n\n"

    def hint(self, text: str) -> str:
        return f"Hint: {text}\n\n"

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
            return Parsed(_spans((Kind.FORMAT, start), (Kind.REASON, len(text))), None)
        action = mark["act"].strip() or None
        spans = _spans(
            (Kind.FORMAT, start),
            (Kind.REASON, mark.start()),
            (Kind.FORMAT, mark.start("act")),
            (Kind.ACT if action else Kind.FORMAT, mark.end("act")),
            (Kind.FORMAT, len(text)),
        )
        return Parsed(spans, action)


def _spans(*spans: tuple[Kind, int]) -> tuple[tuple[Kind, int], ...]:
    """Drop empty spans."""
    starts = (0, *(end for _, end in spans[:-1]))
    return tuple(span for start, span in zip(starts, spans, strict=True) if span[1] > start)
