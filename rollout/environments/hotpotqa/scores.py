"""Exact match and F1 of short answers, as HotpotQA's evaluation has them (and SQuAD's before it)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CLOSED = frozenset({"yes", "no", "noanswer"})
"""Answers that have no partial credit."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How good an answer is: ``exact_match`` 0 or 1, ``f1`` between 0 and 1."""

    exact_match: float
    f1: float


def normalised(answer: str) -> str:
    """Lower case, without ASCII punctuation and articles, blanks squeezed."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> float:
    """1 if both are equal once normalised, else 0."""
    return float(normalised(answer) == normalised(gold))


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over words, repeats counted; all or nothing for yes, no and noanswer."""
    ours, theirs = normalised(answer), normalised(gold)
    if ours != theirs and (ours in _CLOSED or theirs in _CLOSED):
        return 0.0
    common = sum((Counter(ours.split()) & Counter(theirs.split())).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(ours.split()), common / len(theirs.split())
    return 2 * precision * recall / (precision + recall)


def best_scores(answer: str, golds: Iterable[str]) -> Scores:
    """The best of each score over all accepted answers (at least one)."""
    accepted = list(golds)
    return Scores(max(exact_match(answer, gold) for gold in accepted), max(f1(answer, gold) for gold in accepted))
