"""The StateAct style: the agent writes down what it knows to be so before it thinks and acts, a line for each key.

Source of the form: StateAct (Rozanov & Rei, 2025), goal, places, inventory, thought, action.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rollout.grammar import Choice, FreeText, Grammar, Part
from rollout.prompts.example import WorkedTurn
from rollout.prompts.style import Parsed, SharedWords, cut
from rollout.trajectory import Kind

NOTHING = "None"
"""What is written for a key that has no value."""
HOUSEHOLD_KEYS = ("goal", "locations visited", "current location", "current inventory")
KEYS = (*HOUSEHOLD_KEYS, "current selection")
"""Keys of StateAct's own worlds; ``thought`` and ``action`` follow them in every world."""

_ACTION_ANYWHERE = re.compile(r"action:(?P<act>\s*[^\n]*)", re.IGNORECASE)
_ACTION_LINE = re.compile(rf"(?:\A|\n)[ \t>]*{_ACTION_ANYWHERE.pattern}", re.IGNORECASE)


def form(keys: Sequence[str] = HOUSEHOLD_KEYS) -> str:
    """How a turn is written, in words for the agent."""
    state = "\n".join(f"{key}: as it is now" for key in keys)
    return (
        f"In each turn write the state of things, a thought and one action, each on a line of its own, {NOTHING} where "
        f"there is none:\n{state}\nthought: what to do next\naction: one of the actions below"
    )


@dataclass(frozen=True, slots=True)
class StateActStyle(SharedWords):
    """State, thought and action (`rollout.prompts.style.Style`).

    Attributes:
        keys: of the state, as the parser knows them: in any case, with spaces or underscores.
        told: the keys that the instructions ask for.
    """

    keys: tuple[str, ...] = KEYS
    told: tuple[str, ...] = HOUSEHOLD_KEYS

    name = "stateact"

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        lines = (*(turn.state or ()), ("thought", turn.thought), ("action", turn.action))
        return "\n".join(f"{key}: {value or NOTHING}" for key, value in lines), turn.observation

    def parse(self, text: str) -> Parsed:
        """Cut what a model wrote in one turn into reason, act and format. Any text is accepted.

        A key that begins a line is format, with its colon; what follows it, up to the next key, is reason. The action's
        mark is the first ``action:`` that begins a line, else the first one anywhere. What follows it, to the end of
        its line, is the act; the rest is format. Text without an action has keys and reason only.
        """
        mark = _ACTION_LINE.search(text) or _ACTION_ANYWHERE.search(text)
        end = mark.start() if mark else len(text)
        spans: list[tuple[Kind, int]] = []
        for key in _key_mark((*self.keys, "thought")).finditer(text, 0, end):
            spans += [(Kind.REASON, key.start()), (Kind.FORMAT, key.end())]
        spans.append((Kind.REASON, end))
        if mark is None:
            return Parsed(cut(*spans), None)
        action = mark["act"].strip() or None
        spans += [
            (Kind.FORMAT, mark.start("act")),
            (Kind.ACT if action else Kind.FORMAT, mark.end("act")),
            (Kind.FORMAT, len(text)),
        ]
        return Parsed(cut(*spans), action)

    def turn_grammar(self, action: Choice) -> Grammar:
        lines: list[Part] = [part for key in (*self.told, "thought") for part in (f"{key}: ", FreeText(), "\n")]
        return Grammar((*lines, "action: ", action))


@cache
def _key_mark(keys: tuple[str, ...]) -> re.Pattern[str]:
    """A key that begins a line; an underscore may stand for a space."""
    written = "|".join("[ _]".join(map(re.escape, key.split(" "))) for key in keys)
    return re.compile(rf"(?:\A|\n)[ \t>]*(?:{written}):", re.IGNORECASE)
