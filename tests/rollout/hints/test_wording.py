"""How hints are written."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.hints.wording import generalised, normalised, unknown_placeholders


def test_a_hint_is_one_line_with_a_capital_and_a_stop() -> None:
    assert normalised("  open the\n fridge ") == "Open the fridge."
    assert normalised("{object} first!") == "{object} first!"
    assert normalised(" \n") == ""
    assert normalised("half a character \ud83d here") == "Half a character ? here."


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_only_known_placeholders_may_stand_in_braces() -> None:
    assert unknown_placeholders("Put {object} in {container}, {location}.") == []
    assert unknown_placeholders("Use {tool} and {} for {object} }") == ["{tool}", "{}", "}"]


def test_names_are_replaced_as_whole_words_the_longest_first_in_any_case() -> None:
    names = {"mug": "{object}", "mug 1": "{object}", "cabinet 12": "{container}"}
    assert generalised("Take Mug 1 or a mug from cabinet 12, no smug mugs.", names) == (
        "Take {object} or a {object} from {container}, no smug mugs."
    )
    assert generalised("The {object} and the object", {"object": "{item}"}) == "The {object} and the {item}"
    assert generalised("as it is", {}) == "as it is"


@settings(max_examples=60, deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.sampled_from(["{object}", "{item}"])))
def test_any_names_can_be_replaced_in_any_text(text: str, names: dict[str, str]) -> None:
    generalised(text, names)
