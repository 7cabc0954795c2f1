"""Sentences with slots: written with drawn values, and read back by a reader who knows the language.

A slot is ``{p}`` (a person), ``{t}`` (a thing) or ``{a:2:9}`` (a number from 2 to 9; ``{a:10:50:10}`` in steps of 10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """One sentence of a problem and what it means.

    Attributes:
        text: with slots.
        sets: the phrase whose value the sentence changes (``{p} has``); empty if it matters to nothing.
        formula: that value, over slots and phrases in square brackets: ``[{p} has] + {a}``.
    """

    text: str
    sets: str = ""
    formula: str = ""
    ranges: Mapping[str, range] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        found = _SLOT.findall(self.text)
        ranges = {name: range(int(low), int(high) + 1, int(step or 1)) for name, low, high, step in found if low}
        object.__setattr__(self, "ranges", ranges)

    @property
    def names(self) -> set[str]:
        """Its slots."""
        return {match[1] for match in _SLOT.finditer(self.text)}

    @property
    def is_question(self) -> bool:
        return self.text.endswith("?")

    def draw(self, rng: Random) -> dict[str, str]:
        """Values of its numbers."""
        return {name: str(rng.choice(values)) for name, values in self.ranges.items()}

    def write(self, slots: Slots) -> str:
        return _fill(self.text, slots)

    def read(self, text: str) -> dict[str, str] | None:
        """The slots of a sentence of this form, else None."""
        match = self._pattern.fullmatch(text)
        return match.groupdict() if match else None

    def key(self, slots: Slots) -> str:
        return _fill(self.sets, slots)

    def calculation(self, slots: Slots, memory: Memory) -> str:
        """The formula in numbers: ``12 + 5``. What is added to an unknown value stands alone.

        Raises:
            KeyError: it needs a value that is not known.
        """
        formula = _fill(self.formula, slots)
        first = _KEY.match(formula)
        if first and first[1] not in memory and formula[first.end() :].startswith(" + "):
            formula = formula[first.end() + 3 :]
        return _KEY.sub(lambda match: memory[match[1]], formula)

    def keys(self, slots: Slots) -> list[str]:
        """The phrases whose values the formula uses."""
        return list(dict.fromkeys(_KEY.findall(_fill(self.formula, slots))))

    def recalled(self, slots: Slots, memory: Memory) -> list[str]:
        """The known values that the formula uses, each as a sentence."""
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


def _fill(text: str, slots: Slots) -> str:
    return _SLOT.sub(lambda match: slots[match[1]], text)
