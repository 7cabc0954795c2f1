"""Porter's stemmer as in Lucene, with the two rules that Porter added to his code after the paper.

Source: M. F. Porter, An algorithm for suffix stripping, 1980; the additions (``bli``, ``logi``) and the rule that words
of one or two letters stay as they are, from his later description of the algorithm.

nltk's ``PorterStemmer`` in the mode ``MARTIN_EXTENSIONS`` returns the same stems at half the speed. It is not used,
because it would import all of nltk, and SciPy's statistics if installed, into every worker.
"""

from __future__ import annotations

import re
from itertools import pairwise

_VOWELS = frozenset("aeiou")

_STEP_2 = dict(
    rule.split(":")
    for rule in (
        "ational:ate tional:tion enci:ence anci:ance izer:ize bli:ble alli:al entli:ent eli:e ousli:ous ization:ize "
        "ation:ate ator:ate alism:al iveness:ive fulness:ful ousness:ous aliti:al iviti:ive biliti:ble logi:log"
    ).split()
)
_STEP_3 = dict(rule.split(":") for rule in "icate:ic ative: alize:al iciti:ic ical:ic ful: ness:".split())
# Lazy, so that the longest suffix matches.
_SUFFIXES = [re.compile(rf"(.*?)({'|'.join(rules)})") for rules in (_STEP_2, _STEP_3)]
_STEP_4 = re.compile("(.*?)(?:al|ance|ence|er|ic|able|ible|ant|ement|ment|ent|(?<=[st])ion|ou|ism|ate|iti|ous|ive|ize)")


def stem(word: str) -> str:
    """The stem of a lower-case word; words of up to two letters stay as they are."""
    if len(word) <= 2:
        return word
    word = _past(_plural(word))
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    for pattern, rules in zip(_SUFFIXES, (_STEP_2, _STEP_3), strict=True):
        if (match := pattern.fullmatch(word)) and _measure(match[1]) > 0:
            word = match[1] + rules[match[2]]
    if (match := _STEP_4.fullmatch(word)) and _measure(match[1]) > 1:
        word = match[1]
    return _last_letters(word)


def _consonants(word: str) -> list[bool]:
    """Whether each letter is a consonant; a y after a consonant is a vowel."""
    kinds: list[bool] = []
    for place, letter in enumerate(word):
        kinds.append(letter not in _VOWELS and not (letter == "y" and place > 0 and kinds[-1]))
    return kinds


def _measure(word: str) -> int:
    """Number of vowel-consonant sequences."""
    return sum(not before and after for before, after in pairwise(_consonants(word)))


def _has_vowel(word: str) -> bool:
    return not all(_consonants(word))


def _ends_short(word: str) -> bool:
    """Whether the word ends with consonant, vowel, and consonant other than w, x, y."""
    return _consonants(word)[-3:] == [True, False, True] and word[-1] not in "wxy"


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    rest = word.removesuffix("ed") if word.endswith("ed") else word.removesuffix("ing")
    if rest == word or not _has_vowel(rest):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if rest[-1:] == rest[-2:-1] and _consonants(rest)[-1]:
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _ends_short(rest) else rest


def _last_letters(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
