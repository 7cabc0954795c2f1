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
from rollout.prompts.labels import THOUGHT_NAMES, label, parse_labeled
from rollout.prompts.style import BaseStyle, ParsedTurn

NOTHING = "None"
"""Value of a key that has none."""
HOUSEHOLD_KEYS = ("goal", "locations visited", "current location", "current inventory")
KEYS = (*HOUSEHOLD_KEYS, "current selection")
"""Keys of the environments in the StateAct paper. ``thought`` and ``action`` follow them in every environment."""


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
        """Split a turn as `parse_labeled` does. Each key that begins a line is format; its value is reason."""
        return parse_labeled(text, _key_labels(self.keys))

    def turn_grammar(self, action: Choice) -> Grammar:
        lines: list[Part] = [
            part for key in (*self.instructed_keys, "thought") for part in (f"{key}: ", FreeText(), "\n")
        ]
        return Grammar((*lines, "action: ", action))


@cache
def _key_labels(keys: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of the label of a key, with spaces or underscores, or of a thought."""
    return label("|".join([*("[ _]".join(map(re.escape, key.split(" "))) for key in keys), THOUGHT_NAMES]))
