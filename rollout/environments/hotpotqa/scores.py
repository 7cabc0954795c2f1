"""Exact match and F1 of short answers, as in the evaluation scripts of HotpotQA and SQuAD."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_YES_NO = frozenset({"yes", "no", "noanswer"})
"""Answers without partial credit."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of an answer: ``exact_match`` is 0 or 1, ``f1`` is between 0 and 1."""

    exact_match: float
    f1: float


def normalize_answer(answer: str) -> str:
    """Convert to lower case, remove ASCII punctuation and articles, and collapse white space."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> float:
    """1 if both are equal after normalization, else 0."""
    return float(normalize_answer(answer) == normalize_answer(gold))


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of word precision and recall, with multiplicity; 0 or 1 for yes, no and noanswer."""
    ours, theirs = normalize_answer(answer), normalize_answer(gold)
    if ours != theirs and (ours in _YES_NO or theirs in _YES_NO):
        return 0.0
    common = sum((Counter(ours.split()) & Counter(theirs.split())).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(ours.split()), common / len(theirs.split())
    return 2 * precision * recall / (precision + recall)


def best_scores(answer: str, golds: Iterable[str]) -> Scores:
    """The maximum of each score over all accepted answers (at least one)."""
    accepted = list(golds)
    return Scores(max(exact_match(answer, gold) for gold in accepted), max(f1(answer, gold) for gold in accepted))
