"""Shared wording of error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three known words that are similar to ``word``, contain it, or are contained in it."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return near or [name for name in known if word and (word in name or name in word)][:3]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean a or b?``; the empty string if no known word is similar."""
    near = suggest(word, known)
    return f"did you mean {' or '.join(near)}?" if near else ""


def choose_one_of(word: str, known: Iterable[str]) -> str:
    """``did you mean a? Choose one of a, b.``, or ``choose one of a, b.`` if no known word is similar."""
    known = list(known)
    near, choices = suggest(word, known), ", ".join(known) or "nothing, as there is none"
    return f"did you mean {near[0]}? Choose one of {choices}." if near else f"choose one of {choices}."


def first_line(error: object) -> str:
    """The first line of an error or text; the empty string if it has none."""
    return str(error).strip().partition("\n")[0].rstrip()


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split())
