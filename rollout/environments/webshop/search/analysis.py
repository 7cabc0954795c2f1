"""Conversion of text to index terms, equivalent to Lucene's English analyzer.

Text is split at Unicode's word breaks (UAX #29), emoji included. Possessives and 33 stop words are removed, and the
other words are stemmed.
"""

from __future__ import annotations

import re
from functools import lru_cache

import regex

from rollout.environments.webshop.search.stemmer import stem

STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)
_MAX_LENGTH = 255
"""Maximum length of a word in characters; longer words are split."""
_REMEMBERED = 1 << 14
"""Number of words whose terms are cached."""
_POSSESSIVES = ("'s", "\u2019s", "\uff07s")

# Character classes, for use within brackets.
_LETTER = r"\p{WB=ALetter}\p{WB=Hebrew_Letter}"
_IGNORED = r"\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}"
_WITHIN_LETTERS = r"\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}"
_WITHIN_DIGITS = r"\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}"
# An earlier version of Unicode classified more signs as pictographs, and Lucene follows it.
_PICTOGRAPH = r"\p{ExtPict}\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2763-\u2767"

_WORD = regex.compile(
    rf"""
      (?:
        [{_LETTER}\p{{WB=Numeric}}\p{{WB=Katakana}}\p{{WB=ExtendNumLet}}][{_IGNORED}]*
        (?: (?<=[{_LETTER}][{_IGNORED}]*) [{_WITHIN_LETTERS}] [{_IGNORED}]* (?=[{_LETTER}])
          | (?<=\p{{WB=Numeric}}[{_IGNORED}]*) [{_WITHIN_DIGITS}] [{_IGNORED}]* (?=\p{{WB=Numeric}})
        )?
      )+
    | [\p{{Han}}\p{{Hiragana}}]
    | \p{{LB=SA}}+
    | \p{{RI}}\p{{RI}}?
    | [{_PICTOGRAPH}][{_IGNORED}]* (?: (?<=\p{{WB=ZWJ}}) [{_PICTOGRAPH}][{_IGNORED}]* )*
    """,
    regex.VERBOSE,
)
_ASCII_WORD = re.compile(
    r"[a-z0-9_]++(?:[:.',;](?:(?<=[a-z][:.'])(?=[a-z])|(?<=[0-9][,;.'])(?=[0-9]))[a-z0-9_]++)*+",
)
"""The same for lower-case ASCII, several times faster."""


def words(text: str) -> list[str]:
    """The words of lower-case ``text``, in order."""
    if text.isascii():
        found = _ASCII_WORD.findall(text)
    else:  # no word spans a space
        pieces = text.split(" ")
        found = [word for piece in pieces for word in (_ASCII_WORD if piece.isascii() else _WORD).findall(piece)]
    if "_" in text:
        found = [word for word in found if word.strip("_")]
    if max(map(len, found), default=0) > _MAX_LENGTH:
        found = [word[start : start + _MAX_LENGTH] for word in found for start in range(0, len(word), _MAX_LENGTH)]
    return found


@lru_cache(_REMEMBERED)
def term(word: str) -> str | None:
    """The index term of a lower-case word; None for a stop word."""
    if word.endswith(_POSSESSIVES):
        word = word[:-2]
    return None if word in STOP_WORDS else stem(word)


def terms(text: str) -> list[str]:
    """The index terms of any text, repeats included."""
    return [found for word in words(text.lower()) if (found := term(word)) is not None]


class _NumberOfWord(dict[str, int]):
    """Word to the number of its term, -1 for a stop word. Missing words are added."""

    def __init__(self, numbers: dict[str, int]) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, word: str) -> int:
        found = term(word)
        number = self[word] = -1 if found is None else self._numbers.setdefault(found, len(self._numbers))
        return number


class Vocabulary:
    """Numbers terms in the order of their first occurrence and caches the number of each word."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        """Term to number."""
        self._of_word = _NumberOfWord(self.numbers)

    def encode(self, text: str) -> list[int]:
        """Numbers of the terms of lower-case ``text``, repeats included."""
        known = self._of_word
        return [number for word in words(text) if (number := known[word]) >= 0]
