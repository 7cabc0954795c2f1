"""From text to index terms as Lucene's English analyser does it.

Words by Unicode's word breaks (UAX #29), emoji included, possessives removed, 33 stop words dropped, the rest stemmed.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex

from rollout.shop.stemmer import stem

STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)
_MAX_LENGTH = 255
"""Longer words are cut into pieces of this many characters."""
_POSSESSIVES = ("'s", "\u2019s", "\uff07s")

# Classes of characters, for use within brackets.
_LETTER = r"\p{WB=ALetter}\p{WB=Hebrew_Letter}"
_IGNORED = r"\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}"
_WITHIN_LETTERS = r"\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}"
_WITHIN_DIGITS = r"\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}"
# Unicode once counted more signs as pictographs than it does now, and Lucene still does.
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
_ASCII_WORD = regex.compile(r"[a-z0-9_]+(?:(?:(?<=[a-z])[:.'](?=[a-z])|(?<=[0-9])[,;.'](?=[0-9]))[a-z0-9_]+)*")
"""The same for lower-case ASCII, several times as fast."""


def words(text: str) -> Iterator[str]:
    """The words of lower-case ``text``, in order."""
    for word in (_ASCII_WORD if text.isascii() else _WORD).findall(text):
        if word.strip("_"):
            yield from (word[start : start + _MAX_LENGTH] for start in range(0, len(word), _MAX_LENGTH))


def term(word: str) -> str | None:
    """The index term of a lower-case word; None for a stop word."""
    if word.endswith(_POSSESSIVES):
        word = word[:-2]
    return None if word in STOP_WORDS else stem(word)


def terms(text: str) -> list[str]:
    """The index terms of any text, repeats included."""
    return [found for word in words(text.lower()) if (found := term(word)) is not None]


class Vocabulary:
    """Numbers terms in the order in which they are first met, and remembers the number of each word."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        """Term to number."""
        self._of_word: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        """Numbers of the terms of lower-case ``text``, repeats included."""
        known = self._of_word
        found = [known[word] if word in known else self._add(word) for word in words(text)]
        return [number for number in found if number >= 0]

    def _add(self, word: str) -> int:
        found = term(word)
        number = -1 if found is None else self.numbers.setdefault(found, len(self.numbers))
        self._of_word[word] = number
        return number
