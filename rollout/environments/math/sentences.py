"""Sentence templates with slots: written with drawn values, and parsed back by the scripted policies.

A slot is ``{p}`` (a person), ``{t}`` (a thing) or ``{a:2:9}`` (a number from 2 to 9; ``{a:10:50:10}`` in steps of 10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

PEOPLE = "pqr"
THINGS = "tv"

_SLOT = re.compile(r"\{(\w+)(?::(\d+):(\d+)(?::(\d+))?)?\}")
_KEY = re.compile(r"\[([^\]]+)\]")

Slots = Mapping[str, str]
Memory = dict[str, str]


@dataclass(frozen=True)
class Sentence:
    """A sentence template and its meaning.

    Attributes:
        text: text with slots.
        sets: phrase whose value the sentence sets (``{p} has``); empty if it sets none.
        formula: the value, as an expression of slots and of phrases in square brackets: ``[{p} has] + {a}``.
    """

    text: str
    sets: str = ""
    formula: str = ""

    @cached_property
    def ranges(self) -> Mapping[str, range]:
        """Possible values of the number slots."""
        found = _SLOT.findall(self.text)
        return {name: range(int(low), int(high) + 1, int(step or 1)) for name, low, high, step in found if low}

    @property
    def names(self) -> set[str]:
        """Names of the slots."""
        return {match[1] for match in _SLOT.finditer(self.text)}

    @property
    def is_question(self) -> bool:
        return self.text.endswith("?")

    def draw(self, rng: Random) -> dict[str, str]:
        """Draw values for the number slots."""
        return {name: str(rng.choice(values)) for name, values in self.ranges.items()}

    def write(self, slots: Slots) -> str:
        return fill(self.text, slots)

    def read(self, text: str) -> dict[str, str] | None:
        """Parse a sentence and return its slots; None if it does not match the template."""
        return match.groupdict() if (match := self._pattern.fullmatch(text)) else None

    def key(self, slots: Slots) -> str:
        return fill(self.sets, slots)

    def calculation(self, slots: Slots, memory: Memory) -> str:
        """The formula with numbers: ``12 + 5``. A sum that starts with an unknown value is written without it.

        Raises:
            KeyError: the formula uses an unknown value.
        """
        formula = fill(self.formula, slots)
        first = _KEY.match(formula)
        if first and first[1] not in memory and formula[first.end() :].startswith(" + "):
            formula = formula[first.end() + 3 :]
        return _KEY.sub(lambda match: memory[match[1]], formula)

    def keys(self, slots: Slots) -> list[str]:
        """Phrases whose values the formula uses."""
        return list(dict.fromkeys(_KEY.findall(fill(self.formula, slots))))

    def recalled(self, slots: Slots, memory: Memory) -> list[str]:
        """Known values that the formula uses, each as a sentence."""
        return [f"{key[0].upper()}{key[1:]} {memory[key]}." for key in self.keys(slots) if key in memory]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts, end, seen = [], 0, set[str]()
        for match in _SLOT.finditer(self.text):
            parts.append(re.escape(self.text[end : match.start()]))
            name, end = match[1], match.end()
            kind = r"\d+" if match[2] else r"[A-Z][a-z]+" if name in PEOPLE else r"[a-z]+"
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{kind})")
            seen.add(name)
        return re.compile("".join(parts) + re.escape(self.text[end:]))


def fill(text: str, slots: Slots) -> str:
    """Replace the slots of a template by their values."""
    return _SLOT.sub(lambda match: slots[match[1]], text)
