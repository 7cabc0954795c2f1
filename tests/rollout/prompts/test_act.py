"""Rendering and parsing of Act turns. The table defines the semantics of the parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.prompts.act import ActStyle
from rollout.prompts.example import DemonstrationTurn
from rollout.trajectory import Kind

STYLE = ActStyle("Do it.")
R, A, F, T = Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING

CASES = {
    "an action": ("Action: go to x", [(F, "Action:"), (A, " go to x")], "go to x"),
    "no mark: the first line": ("go to x\nThen I win.", [(A, "go to x"), (T, "\nThen I win.")], "go to x"),
    "no mark, empty lines first": ("\n  \n go\n", [(A, "\n  \n go"), (F, "\n")], "go"),
    "on the next line": ("Action:\ngo", [(F, "Action:"), (A, "\ngo")], "go"),
    "an empty action": ("Action:  ", [(F, "Action:  ")], None),
    "nothing": ("", [], None),
    "white space": (" \n\n", [(F, " \n\n")], None),
    "what comes before the mark is thought": ("I go.\nAction: go", [(R, "I go."), (F, "\nAction:"), (A, " go")], "go"),
    "a mark within a line": ("I go. Action: go", [(R, "I go. "), (F, "Action:"), (A, " go")], "go"),
    "several actions: the first": (
        "Action: go\nAction: stay",
        [(F, "Action:"), (A, " go"), (T, "\nAction: stay")],
        "go",
    ),
}


@pytest.mark.parametrize(("text", "parts", "action"), CASES.values(), ids=CASES.keys())
def test_texts_are_parsed_as_in_the_table(
    cut: Callable[..., object], text: str, parts: list[tuple[Kind, str]], action: str | None
) -> None:
    assert cut(STYLE, text) == parts
    assert STYLE.parse(text).action == action


def test_a_demonstration_turn_is_rendered_without_its_thought() -> None:
    assert STYLE.turn(DemonstrationTurn("I go.", "go to x", "You arrive.")) == ("Action: go to x", "You arrive.")
