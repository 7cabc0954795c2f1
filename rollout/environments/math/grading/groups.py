"""Parses answers with several parts: sets, tuples, intervals, unions and plain lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PARTS = 60

_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])")
_OR = re.compile(r",? (?:or|and) ")


@dataclass(frozen=True, slots=True)
class Group:
    """An answer with several parts.

    Attributes:
        kind: ``set``, ``list``, ``union``, or a pair of brackets such as ``(]``.
        parts: texts of the parts, at most `MAX_PARTS`.
    """

    kind: str
    parts: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        return self.kind not in ("set", "list", "union")


def read_group(text: str) -> Group | None:
    """Parse ``text`` (output of `notation.plain`); None if it is a single value or has more than `MAX_PARTS` parts."""
    if text in (r"\emptyset", r"\{\}", r"\{ \}", "empty set", "the empty set"):
        return Group("set", ())
    group = _union(text) or _bracketed(text) or _list(text)
    return group if group and len(group.parts) <= MAX_PARTS else None


def _union(text: str) -> Group | None:
    parts = [part.strip() for part in text.replace(r"\cup", " U ").split(" U ")]
    return Group("union", tuple(parts)) if len(parts) > 1 and all(_brackets(part) for part in parts) else None


def _bracketed(text: str) -> Group | None:
    brackets = _brackets(text)
    if brackets is None:
        return None
    width = len(brackets) // 2
    parts = _split(text[width:-width])
    if brackets == r"\{\}":
        return Group("set", parts)
    return Group(brackets, parts) if len(parts) > 1 else None


def _list(text: str) -> Group | None:
    parts = _split(_OR.sub(", ", text))
    return Group("list", parts) if len(parts) > 1 else None


def _brackets(text: str) -> str | None:
    """The pair of brackets that encloses the whole text, or None."""
    if text.startswith(r"\{") and text.endswith(r"\}") and _depths(text)[1:-2].count(0) == 0:
        return r"\{\}"
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and len(text) > 1 and 0 not in _depths(text)[:-1]:
        return text[0] + text[-1]
    return None


def _depths(text: str) -> list[int]:
    """Number of open brackets after each character."""
    depth, depths = 0, []
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depths.append(depth)
    return depths


def _split(text: str) -> tuple[str, ...]:
    """Split at commas and semicolons outside brackets; commas between thousands do not split ``1,000, 2,000``."""
    if ", " in text:
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    cuts = [i for i, depth in enumerate(_depths(text)) if depth == 0 and text[i] in ",;"]
    ends = zip([0, *(i + 1 for i in cuts)], [*cuts, len(text)], strict=True)
    return tuple(part for begin, end in ends if (part := text[begin:end].strip()))
