"""Normalization of hint texts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.hints.wording import generalize, normalize, unknown_placeholders


def test_a_hint_is_one_line_with_a_capital_letter_and_a_full_stop() -> None:
    assert normalize("  open the\n fridge ") == "Open the fridge."
    assert normalize("{object} first!") == "{object} first!"
    assert normalize(" \n") == ""
    assert normalize("half a character \ud83d here") == "Half a character ? here."


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_normalization_is_idempotent(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


def test_only_known_placeholders_may_stand_in_braces() -> None:
    assert unknown_placeholders("Put {object} in {container}, {location}.") == []
    assert unknown_placeholders("Use {tool} and {} for {object} }") == ["{tool}", "{}", "}"]


def test_names_are_replaced_as_whole_words_the_longest_first_in_any_case() -> None:
    names = {"mug": "{object}", "mug 1": "{object}", "cabinet 12": "{container}"}
    assert generalize("Take Mug 1 or a mug from cabinet 12, no smug mugs.", names) == (
        "Take {object} or a {object} from {container}, no smug mugs."
    )
    assert generalize("The {object} and the object", {"object": "{item}"}) == "The {object} and the {item}"
    assert generalize("as it is", {}) == "as it is"


@settings(max_examples=60, deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.sampled_from(["{object}", "{item}"])))
def test_any_names_can_be_replaced_in_any_text(text: str, names: dict[str, str]) -> None:
    generalize(text, names)
