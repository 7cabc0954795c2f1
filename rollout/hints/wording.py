"""How a hint is written: one sentence, with placeholders where an episode has names of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = ("object", "container", "location", "page", "item", "size", "color", "attribute", "material")
"""Names that may stand in braces, such as ``{object}``."""

_KNOWN = re.compile(r"\{(?:" + "|".join(PLACEHOLDERS) + r")\}")
_BRACED = re.compile(r"\{[^{}]*\}|[{}]")


def normalised(text: str) -> str:
    """One line, single blanks, a capital at the start and a stop at the end; nothing stays nothing."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if not line:
        return ""
    line = line[0].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def unknown_placeholders(text: str) -> list[str]:
    """What stands in braces and is no placeholder, and braces without a partner."""
    return _BRACED.findall(_KNOWN.sub("", text))


def generalised(text: str, names: Mapping[str, str]) -> str:
    """``text`` with each whole word or phrase of ``names`` replaced, the longest first, in any case.

    Args:
        text: what may hold names of one episode.
        names: from a name (``mug 1``) to what stands for it (``{object}``).
    """
    wanted = {name.lower(): put for name, put in names.items() if name.strip()}
    if not wanted:
        return text
    longest_first = "|".join(map(re.escape, sorted(wanted, key=len, reverse=True)))
    # A word in braces is a placeholder already.
    pattern = re.compile(rf"(?<![\w{{])(?:{longest_first})(?![\w}}])", re.IGNORECASE)
    return pattern.sub(lambda match: wanted.get(match.group().lower(), match.group()), text)
