"""Compares an answer with the reference by exact arithmetic and text, where these can decide.

Conventions: a unit that only one side has is ignored; two known units must have the same dimension and the values must
agree after conversion; 25 % equals 25 and 0.25; a decimal with three or more digits equals any number that rounds to
it; sets and bare lists are unordered, tuples are ordered; words are compared without case and articles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from rollout.environments.math.grading.groups import Group, read_group
from rollout.environments.math.grading.notation import plain
from rollout.environments.math.grading.quantities import Quantity, read_quantity
from rollout.environments.math.grading.units import unit_of

MAX_LENGTH = 1000
"""Maximum number of characters; a longer answer is wrong unless the reference is long as well."""

_LONGEST = 4000
_MAX_NESTING = 4
_MIN_DIGITS = 3
_NAME = re.compile(r"(?P<name>(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?)\s*(?:=|\\in(?![a-z]))\s*")
_INFINITY = re.compile(r"[+-]?\\infty")
_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*\)?")
_WORD = re.compile(r"[a-z]+(?:[ -][a-z]+)*")
_SHORT_WORDS = frozenset("yes no odd red mon tue wed thu fri sat sun".split())


def same_answer(answer: str, right: str) -> bool | None:
    """Return True or False, or None if neither can be decided. Runs in bounded time for all texts."""
    if len(answer) > max(MAX_LENGTH, min(2 * len(right), _LONGEST)):
        return False
    ours, theirs = plain(answer), plain(right)
    return bool(ours) and _same(ours, theirs, _MAX_NESTING)


def _same(ours: str, theirs: str, nesting: int) -> bool | None:
    if re.sub(r"\s+", "", ours) == re.sub(r"\s+", "", theirs):
        return True
    if not nesting:
        return None
    one, other = read_quantity(ours), read_quantity(theirs)
    if one and other:
        return _same_quantity(one, other)
    group, other_group = (None if one else read_group(ours)), (None if other else read_group(theirs))
    if group and other_group:
        return _same_group(group, other_group, nesting)
    if (one and other_group) or (group and other):
        return _same_as_group(ours if one else theirs, other_group or group, nesting)
    named, other_named = _NAME.match(ours), _NAME.match(theirs)
    if named and other_named and named["name"] != other_named["name"]:
        return False
    if named or other_named:
        return _same(
            ours[named.end() if named else 0 :], theirs[other_named.end() if other_named else 0 :], nesting - 1
        )
    return _same_text(ours, theirs, one or other)


def _same_text(ours: str, theirs: str, quantity: Quantity | None) -> bool | None:
    """Compare words, choices and infinities, or a number with one of these."""
    for pattern in (_INFINITY, _LETTER):
        one, other = pattern.fullmatch(ours), pattern.fullmatch(theirs)
        if one and other:
            return one[one.lastindex or 0].lower().lstrip("+") == other[other.lastindex or 0].lower().lstrip("+")
        if (one or other) and quantity:
            return False
    word, other_word = _words(ours), _words(theirs)
    if word and other_word:
        return word == other_word
    return False if (word or other_word) and quantity else None


def _words(text: str) -> str:
    """The text in lower case without articles if it consists of words, else empty. ``abc`` may be a product."""
    lower = text.lower().strip(" \"'!")
    if not _WORD.fullmatch(lower):
        return ""
    words = [word for word in re.split(r"[ -]", lower) if word not in ("a", "an", "the")]
    return " ".join(words) if any(len(word) > 3 or word in _SHORT_WORDS for word in words) else ""


def _same_quantity(one: Quantity, other: Quantity) -> bool:
    if one.percent != other.percent:
        share, number = (one, other) if one.percent else (other, one)
        return _same_number(share, number) or share.value / 100 == number.value
    size, other_size = unit_of(one.unit), unit_of(other.unit)
    if size and other_size:
        return size[0] == other_size[0] and one.value * size[1] == other.value * other_size[1]
    return _same_number(one, other)


def _same_number(one: Quantity, other: Quantity) -> bool:
    if one.value == other.value:
        return True
    written = [side for side in (one, other) if side.decimals is not None]
    digits = min((side.decimals or 0 for side in written), default=0)
    significant = min((side.significant for side in written if side.decimals == digits), default=0)
    return min(digits, significant) >= _MIN_DIGITS and abs(one.value - other.value) <= Fraction(1, 2 * 10**digits)


def _same_group(one: Group, other: Group, nesting: int) -> bool | None:
    if one.ordered and other.ordered:
        if one.kind != other.kind or len(one.parts) != len(other.parts):
            return False
        return _all(_same(a, b, nesting - 1) for a, b in zip(one.parts, other.parts, strict=True))
    if one.ordered or other.ordered or "union" in (one.kind, other.kind) != (one.kind, other.kind):
        return None
    if "set" in (one.kind, other.kind):
        one, other = _without_twins(one, nesting), _without_twins(other, nesting)
    return _same_members(one.parts, other.parts, nesting)


def _same_as_group(single: str, group: Group | None, nesting: int) -> bool | None:
    r"""Compare a single value with a group; it can equal only a group of one part, such as ``\{5\}``."""
    return group is not None and len(group.parts) == 1 and _same(single, group.parts[0], nesting - 1)


def _same_members(ones: tuple[str, ...], others: tuple[str, ...], nesting: int) -> bool | None:
    """Whether each member has a partner, in any order."""
    left, unsure = list(others), False
    for one in ones:
        verdicts = [_same(one, other, nesting - 1) for other in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else not left


def _without_twins(group: Group, nesting: int) -> Group:
    kept: list[str] = []
    for part in group.parts:
        if not any(_same(part, other, nesting - 1) for other in kept):
            kept.append(part)
    return Group(group.kind, tuple(kept))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = set(verdicts)
    return False if False in found else None if None in found else True
