"""Worked episodes for any prompt style."""

from __future__ import annotations

import pytest

from rollout.encyclopaedia.demonstration import TOOLS, as_code, encyclopaedia_demonstrations
from rollout.encyclopaedia.instructions import EXAMPLES
from rollout.prompts.react import ReActStyle


def test_in_react_they_read_as_the_examples_do() -> None:
    style = ReActStyle("")
    for demonstration, example in zip(encyclopaedia_demonstrations(), EXAMPLES, strict=True):
        assert example in style.example(demonstration)


def test_the_state_says_what_is_wanted_and_what_was_found_so_far() -> None:
    chain = encyclopaedia_demonstrations()[0]
    states = [dict(turn.state or ()) for turn in chain.turns]
    assert (states[0]["pages opened"], states[0]["found"]) == ("", "")
    answer = chain.turns[-1].action.removeprefix("finish[").removesuffix("]")
    assert states[-1]["found"].endswith(f": {answer}")
    assert len(states[-1]["pages opened"].split(", ")) == 2


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("search[Old Mill]", 'print(search("Old Mill"))'),
        ('lookup["corn" [ears]]', r'print(lookup("\"corn\" [ears]"))'),
        ("finish[Éire]", 'final_answer("Éire")'),
    ],
)
def test_actions_can_be_written_as_code(action: str, code: str) -> None:
    assert as_code(action) == code
    assert {tool.name for tool in TOOLS} == {"search", "lookup"}
