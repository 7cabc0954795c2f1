"""Normalization of hint texts: one sentence, with placeholders in place of names of one episode."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = ("object", "container", "location", "page", "item", "size", "color", "attribute", "material")
"""Valid placeholder names, written in braces (``{object}``)."""

_KNOWN = re.compile(r"\{(?:" + "|".join(PLACEHOLDERS) + r")\}")
_BRACED = re.compile(r"\{[^{}]*\}|[{}]")


def normalize(text: str) -> str:
    """Convert to one line with single spaces, a capital letter at the start and a full stop at the end."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if not line:
        return ""
    line = line[0].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def unknown_placeholders(text: str) -> list[str]:
    """Find unknown names in braces, and unbalanced braces."""
    return _BRACED.findall(_KNOWN.sub("", text))


def generalize(text: str, names: Mapping[str, str]) -> str:
    """Replace each whole word or phrase of ``names`` in ``text``, the longest first, ignoring case.

    Args:
        text: text that may contain names of one episode.
        names: mapping from a name (``mug 1``) to its placeholder (``{object}``).
    """
    wanted = {name.lower(): put for name, put in names.items() if name.strip()}
    if not wanted:
        return text
    longest_first = "|".join(map(re.escape, sorted(wanted, key=len, reverse=True)))
    # A word in braces is already a placeholder.
    pattern = re.compile(rf"(?<![\w{{])(?:{longest_first})(?![\w}}])", re.IGNORECASE)
    return pattern.sub(lambda match: wanted.get(match.group().lower(), match.group()), text)
