"""Wording that error messages share."""

from __future__ import annotations

import pytest

from rollout.messages import choose_one_of, did_you_mean, first_line, one_line, suggest


def test_close_words_are_found_by_spelling_or_as_a_part() -> None:
    assert suggest("housold", ["household", "teacher"]) == ["household"]
    assert suggest("rate", ["learning_rate", "epochs"]) == ["learning_rate"]
    assert suggest("xyz", ["learning_rate", "epochs"]) == []


def test_a_question_names_the_close_words_and_is_left_out_without_one() -> None:
    assert did_you_mean("rate", ["learning_rate", "rates", "epochs"]) == "did you mean rates?"
    assert (
        did_you_mean("rate", ["learning_rate", "rate_of_updates"]) == "did you mean learning_rate or rate_of_updates?"
    )
    assert did_you_mean("xyz", ["epochs"]) == ""


@pytest.mark.parametrize(
    ("word", "known", "sentence"),
    [
        ("cap", ["cat", "dog"], "did you mean cat? Choose one of cat, dog."),
        ("xyz", ["cat", "dog"], "choose one of cat, dog."),
        ("xyz", [], "choose one of nothing, as there is none."),
    ],
)
def test_a_choice_names_all_known_words(word: str, known: list[str], sentence: str) -> None:
    assert choose_one_of(word, known) == sentence


def test_an_error_is_cut_to_its_first_line_or_joined_to_one() -> None:
    error = ValueError("\n first \r\n  second\n")
    assert first_line(error) == "first"
    assert one_line(error) == "first second"
    assert first_line(ValueError()) == one_line(ValueError()) == ""
