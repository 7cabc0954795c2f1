"""Decides which parts of two answers math-verify has to compare, and compares plain numbers, units and words itself.

Conventions: a unit that only one side has is ignored; two known units must have the same dimension and the values must
agree after conversion; 25 % equals 25 and 0.25; floats are equal within 1e-9; words are compared without case and
articles. All else is what math-verify says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.environments.math.grading.notation import TEXT_COMMAND, answer_in, bare
from rollout.environments.math.grading.numbers import SPACE, join_thousands, same_number
from rollout.environments.math.grading.quantities import Quantity, read_quantity
from rollout.environments.math.grading.units import unit_of

MAX_LENGTH = 1000
"""Maximum number of characters; a longer answer is wrong unless the reference is long as well."""

_LONGEST = 4000
_MAX_NESTING = 40
_NAME = re.compile(r"(?P<name>(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?)\s*(?:=|\\in(?![a-z]))\s*(?P<rest>[^=<>]+)")
_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*[):]?")
_NUMERAL = re.compile(r"(?P<digits>\w+)\s*_\s*\{?\s*(?P<base>\d+)\s*\}?")
_COMMANDS = re.compile(
    r"\\(?:begin|end|operatorname)\s*\{[^{}]*\}|\\[a-zA-Z]+"
    r"|(?<![A-Za-z])(?:sqrt|sinh|cosh|tanh|arcsin|arccos|arctan|infinity)(?![A-Za-z])"
)
_LONG_WORD = re.compile(r"[A-Za-z]{4}")
_SHORT_WORDS = re.compile(
    r"(?<![A-Za-z])(?:yes|no|not|odd|red|one|two|six|ten|all|any|mon|tue|wed|thu|fri|sat|sun)(?![A-Za-z])",
    re.IGNORECASE,
)
_SPACED_DIGITS = re.compile(rf"\d{SPACE}+\d")
_ARGUMENTS = re.compile(r"\\[a-zA-Z]+\s*\d\s+\d")
_LIBRARY = (
    (re.compile(r"\\varnothing(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\\\\s*\[[\d.]+\s*(?:pt|em|ex|mm|cm|in)\]"), r"\\\\"),
)
"""Notation that math-verify does not know. Each pattern matches whole tokens only."""


@dataclass(frozen=True, slots=True)
class Question:
    """Two texts in LaTeX for math-verify."""

    answer: str
    right: str


def compare(answer: str, right: str) -> bool | Question:
    """Return the verdict, or what math-verify has to decide. Runs in bounded time for all texts."""
    if len(answer) > max(MAX_LENGTH, min(2 * len(right), _LONGEST)):
        return False
    ours, theirs = answer_in(answer), bare(right)
    if not ours or not theirs:
        return False
    if _text(bare(answer)) == _text(theirs) or _text(ours) == _text(theirs):
        return True
    named = _without_names(ours, theirs)
    if named is None:
        return False
    ours, theirs = named
    gold = read_quantity(theirs)
    return _same(read_quantity(ours, glued=gold.number is not None), gold)


def same_answer(answer: str, right: str) -> bool | None:
    """Return True or False, or None if only math-verify can decide."""
    verdict = compare(answer, right)
    return None if isinstance(verdict, Question) else verdict


def library_text(text: str) -> str:
    """``text`` without the few notations that math-verify misreads."""
    for pattern, replacement in _LIBRARY:
        text = pattern.sub(replacement, text)
    return join_thousands(text)


def _same(ours: Quantity, theirs: Quantity) -> bool | Question:
    size, other_size = unit_of(ours.unit), unit_of(theirs.unit)
    if size and other_size and size[0] != other_size[0]:
        return False
    if ours.number and theirs.number:
        return _same_quantity(ours, theirs)
    if size and other_size and size[1] != other_size[1]:
        return False
    if _text(ours.expression) == _text(theirs.expression):
        return True
    letters = [_LETTER.fullmatch(side.expression) for side in (ours, theirs)]
    if all(letters):
        return len({letter[1].lower() for letter in letters if letter}) == 1
    if _is_words(ours.expression) or _is_words(theirs.expression):
        return _words(ours.expression) == _words(theirs.expression)
    if (ours.number and letters[1]) or (theirs.number and letters[0]) or not _is_sound(ours, theirs):
        return False
    return Question(library_text(ours.latex), library_text(theirs.latex))


def _same_quantity(ours: Quantity, theirs: Quantity) -> bool:
    if ours.number is None or theirs.number is None:
        return False
    one, other = ours.number, theirs.number
    if ours.percent != theirs.percent:
        share, number = (one, other) if ours.percent else (other, one)
        return same_number(share, number) or share.value / 100 == number.value
    size, other_size = unit_of(ours.unit), unit_of(theirs.unit)
    if size and other_size and size[1] != other_size[1]:
        return one.value * size[1] == other.value * other_size[1]
    return same_number(one, other)


def _without_names(ours: str, theirs: str) -> tuple[str, str] | None:
    """Remove ``x =`` where this leaves an answer, not half of an equation; None if the names differ."""
    named, other = _NAME.fullmatch(ours), _NAME.fullmatch(theirs)
    if named and other:
        return (named["rest"], other["rest"]) if named["name"] == other["name"] else None
    if named and "=" not in theirs:
        return named["rest"], theirs
    if other and "=" not in ours:
        return ours, other["rest"]
    return ours, theirs


def _is_sound(ours: Quantity, theirs: Quantity) -> bool:
    """Whether math-verify reads the answer as people do: it adds ``7 2`` and drops the base of ``12_5``."""
    text = library_text(ours.latex)
    bases = [_NUMERAL.fullmatch(side.expression) for side in (ours, theirs)]
    if all(bases) and len({(base["digits"], base["base"]) for base in bases if base}) > 1:
        return False
    depth = deepest = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
        if depth < 0:
            return False
    return depth == 0 and deepest <= _MAX_NESTING and not _SPACED_DIGITS.search(_ARGUMENTS.sub("", text))


def _text(text: str) -> str:
    """A text in lower case without text commands and quotes, to compare it as written."""
    text = re.sub(TEXT_COMMAND + r"\{([^{}]*)\}", r" \1 ", text)
    return " ".join(re.sub(r"[\"']", "", text).casefold().split())


def _is_words(text: str) -> bool:
    """Whether a text contains words, which math-verify would read as products of letters."""
    rest = _COMMANDS.sub(" ", re.sub(TEXT_COMMAND + r"\{([^{}]*)\}", r" \1 ", text))
    return bool(_LONG_WORD.search(rest) or _SHORT_WORDS.search(rest))


def _words(text: str) -> str:
    return " ".join(word for word in re.sub(r"[.!,-]", " ", _text(text)).split() if word not in ("a", "an", "the"))
