"""Tokenizer vocabulary of the household."""

from __future__ import annotations

from rollout.environments.household.catalog import NOUNS, ROOMS
from rollout.environments.vocabulary import Vocabulary


def _words() -> list[str]:
    names = (*NOUNS, *(kind for room in ROOMS.values() for kind in room.full), *range(31))
    return [" hot cold cool clean sliced", *(f" {name}" for name in names)]


VOCABULARY = Vocabulary(
    r" ?[A-Za-z]+| ?\d{1,2}| ?[^\sA-Za-z\d]+|\s+(?!\S)|\s+",
    ("Thought:", "\nAction:"),
    True,
    {"size": "full"},
    _words,
)
