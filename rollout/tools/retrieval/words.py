"""Splitting text into the words of the lexical index, and comparing titles."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset(
    "a an and are as at be but by for from had has have he her his i if in into is it its no not of on or she so such "
    "that the their them then there these they this to was were what when where which who whom why will with".split()
)


def words(text: str) -> list[str]:
    """Split text into lowercase words without accents, stop words and plural ``s``."""
    return [stem for word in _WORD.findall(_plain(text)) if (stem := _stem(word))]


def title_key(title: str) -> str:
    """Normalize a title: equal keys mean equality up to case, underscores and whitespace."""
    return " ".join(unicodedata.normalize("NFC", title).replace("_", " ").split()).casefold()


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    """Remove a plural ``s``; return the empty string for a stop word."""
    if word in _STOP_WORDS:
        return ""
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word
