"""The StateAct style: the agent writes its belief state before thought and action, one line for each key.

Source: StateAct (Rozanov & Rei, 2025): goal, locations, inventory, thought, action.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rollout.grammar import Choice, FreeText, Grammar, Part
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import BaseStyle, ParsedTurn, make_spans
from rollout.trajectory import Kind

NOTHING = "None"
"""Value of a key that has none."""
HOUSEHOLD_KEYS = ("goal", "locations visited", "current location", "current inventory")
KEYS = (*HOUSEHOLD_KEYS, "current selection")
"""Keys of the environments in the StateAct paper. ``thought`` and ``action`` follow them in every environment."""

_ACTION_ANYWHERE = re.compile(r"action:(?P<act>\s*[^\n]*)", re.IGNORECASE)
_ACTION_LINE = re.compile(rf"(?:\A|\n)[ \t>]*{_ACTION_ANYWHERE.pattern}", re.IGNORECASE)


def turn_format(keys: Sequence[str] = HOUSEHOLD_KEYS) -> str:
    """Tells the agent the format of a turn."""
    state = "\n".join(f"{key}: as it is now" for key in keys)
    return (
        f"In each turn write the state of things, a thought and one action, each on a line of its own, {NOTHING} where "
        f"there is none:\n{state}\nthought: what to do next\naction: one of the actions below"
    )


@dataclass(frozen=True, slots=True)
class StateActStyle(BaseStyle):
    """State, thought and action (`rollout.prompts.style.Style`).

    Attributes:
        keys: state keys that the parser recognizes, in any case, with spaces or underscores.
        instructed_keys: state keys that the instructions ask for.
    """

    keys: tuple[str, ...] = KEYS
    instructed_keys: tuple[str, ...] = HOUSEHOLD_KEYS

    name = "stateact"

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        lines = (*(turn.state or ()), ("thought", turn.thought), ("action", turn.action))
        return "\n".join(f"{key}: {value or NOTHING}" for key, value in lines), turn.observation

    def parse(self, text: str) -> ParsedTurn:
        """Split the text of one turn into reason, act and format. Any text is accepted.

        A key that begins a line is format, including its colon; the text up to the next key is reason. The action's
        marker is the first ``action:`` that begins a line; if no line begins with it, the first one anywhere. The act
        is the text from the marker to the end of its line; the rest is format. Text without an action consists of keys
        and reason only.
        """
        marker = _ACTION_LINE.search(text) or _ACTION_ANYWHERE.search(text)
        end = marker.start() if marker else len(text)
        spans: list[tuple[Kind, int]] = []
        for key in _key_marker((*self.keys, "thought")).finditer(text, 0, end):
            spans += [(Kind.REASON, key.start()), (Kind.FORMAT, key.end())]
        spans.append((Kind.REASON, end))
        if marker is None:
            return ParsedTurn(make_spans(*spans), None)
        action = marker["act"].strip() or None
        spans += [
            (Kind.FORMAT, marker.start("act")),
            (Kind.ACT if action else Kind.FORMAT, marker.end("act")),
            (Kind.FORMAT, len(text)),
        ]
        return ParsedTurn(make_spans(*spans), action)

    def turn_grammar(self, action: Choice) -> Grammar:
        lines: list[Part] = [
            part for key in (*self.instructed_keys, "thought") for part in (f"{key}: ", FreeText(), "\n")
        ]
        return Grammar((*lines, "action: ", action))


@cache
def _key_marker(keys: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of a key that begins a line, with spaces or underscores."""
    written = "|".join("[ _]".join(map(re.escape, key.split(" "))) for key in keys)
    return re.compile(rf"(?:\A|\n)[ \t>]*(?:{written}):", re.IGNORECASE)
