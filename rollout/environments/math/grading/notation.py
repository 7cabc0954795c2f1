"""Normalizes the notation of answers: removes LaTeX and Unicode decoration."""

from __future__ import annotations

import re

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*")
_WORDS = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|\\q?quad\b|~| | | ")
_SIZES = re.compile(r"\\(?:left|right|big|Big|bigl|bigr|Bigl|Bigr|displaystyle|limits)(?![a-zA-Z])\.?")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)")
_CASES = {
    "−": "-",
    "–": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "∞": r"\infty ",
    "π": r"\pi ",
    "√": r"\sqrt ",
    "∪": r"\cup ",
    "∅": r"\emptyset ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "°": r"^\circ ",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "²": "^2",
    "³": "^3",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\%": "%",
    r"\$": "$",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\varnothing": r"\emptyset",
    r"\degree": r"^\circ",
    r"\leq": r"\le",
    r"\geq": r"\ge",
    "{,}": ",",
}


def boxed(text: str) -> str | None:
    r"""Content of the last closed ``\boxed{…}`` of a text; None if there is none."""
    found = None
    for mark in _BOXED.finditer(text):
        rest = text[mark.end() :]
        inside = _braces(rest) if rest.startswith("{") else rest.split("$")[0].strip()
        found = inside if inside is not None else found
    return found


def plain(text: str) -> str:
    """Remove boxes, math delimiters, size commands, hard spaces, text commands and the final full stop of an answer."""
    inside = boxed(text)
    text = (inside if inside is not None else text).strip().removesuffix(".")
    for old, new in _CASES.items():
        text = text.replace(old, new)
    text = _SPACES.sub(" ", _SIZES.sub("", text))
    text = _maths_marks(text)
    text = _WORDS.sub(r" \1 ", text)
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = re.sub(r"\^\s*\{\s*\\circ\s*\}", r"^\\circ ", text)
    return re.sub(r"\s+", " ", text).strip().removesuffix(".").strip()


def _maths_marks(text: str) -> str:
    """Remove the delimiters around a formula; a single dollar sign is money and stays."""
    for begin, end in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            text = text[len(begin) : -len(end)].strip()
    return text


def _braces(text: str) -> str | None:
    """The text between the first brace and its closing brace; None if it is never closed."""
    depth = 0
    for i, character in enumerate(text):
        if character == "{" and text[i - 1 : i] != "\\":
            depth += 1
        elif character == "}" and text[i - 1 : i] != "\\":
            depth -= 1
        if depth == 0:
            return text[1:i]
    return None
