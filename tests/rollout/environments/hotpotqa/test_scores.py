"""Exact match and F1 agree with values worked out by hand from the rules of the official script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.environments.hotpotqa.scores import Scores, best_scores, exact_match, f1, normalize_answer


@pytest.mark.parametrize(
    ("answer", "gold", "em", "f1_score"),
    [
        ("The Beatles", "Beatles", 1, 1),  # articles are dropped
        ("beatles.", "the BEATLES!", 1, 1),  # case and punctuation too
        ("an apple a day", "Apple day", 1, 1),
        ("theatre", "atre", 0, 0),  # but not within a word
        ("U.S.A.", "USA", 1, 1),  # punctuation goes without leaving a blank
        ("co-founder", "cofounder", 1, 1),
        ("co founder", "co-founder", 0, 0),  # "co founder" against "cofounder"
        ("A. A. Milne", "Milne", 1, 1),  # initials become articles
        ("Milne, A.A.", "Milne", 0, 2 / 3),  # "milne aa": precision 1/2, recall 1
        ("1,234", "1234", 1, 1),
        ("10 %", "10%", 1, 1),  # the sign leaves a blank, which is squeezed
        ("$5", "5", 1, 1),
        ("  New \t York\n", "new york", 1, 1),
        ("New York City", "New York", 0, 0.8),  # precision 2/3, recall 1
        ("York", "New York City", 0, 0.5),  # precision 1, recall 1/3
        ("cat cat dog", "cat dog dog", 0, 2 / 3),  # one cat and one dog in common
        ("cat cat cat", "cat", 0, 0.5),  # a repeat counts once
        ("dog cat", "cat dog", 0, 1),  # order does not matter to F1
        ("yes", "no", 0, 0),
        ("Yes.", "yes", 1, 1),
        ("yes it is", "yes", 0, 0),  # no partial credit for a closed answer
        ("no", "no way", 0, 0),  # on either side
        ("noanswer", "no answer", 0, 0),
        ("no answer", "no answer", 1, 1),  # only the single word is closed
        ("yes sir", "yes madam", 0, 0.5),  # and only on its own
        ("", "x", 0, 0),
        ("the", "a", 1, 0),  # both empty: equal, with no word in common
        ("Beyoncé", "Beyonce", 0, 0),  # accents count
        ("“Who”", "Who", 0, 0),  # only ASCII punctuation is dropped
        ("–", "-", 0, 0),  # an en dash stays, a hyphen goes
        ("it's", "its", 1, 1),
        ("rock & roll", "rock roll", 1, 1),
        ("O'Brien", "O Brien", 0, 0),
        ("the_end", "theend", 1, 1),  # an underscore is punctuation; "theend" holds no article
    ],
)
def test_scores_worked_by_hand(answer: str, gold: str, em: int, f1_score: float) -> None:
    assert exact_match(answer, gold) == em
    assert f1(answer, gold) == pytest.approx(f1_score)


def test_the_best_score_over_all_accepted_answers_counts() -> None:
    assert best_scores("NYC", ["New York City", "NYC"]) == Scores(1, 1)
    assert best_scores("York City", ["New York City", "City of York"]) == Scores(0, 0.8)


@given(st.text(), st.text())
def test_scores_are_symmetric_between_0_and_1_and_equal_answers_score_best(one: str, other: str) -> None:
    assert f1(one, other) == f1(other, one)
    assert 0 <= f1(one, other) <= 1
    assert exact_match(one, other) == exact_match(other, one) == float(normalize_answer(one) == normalize_answer(other))
    assert f1(one, one) == (1 if normalize_answer(one) else 0)
