"""Rendering and parsing of StateAct turns. The tables define the semantics of the parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.stateact import StateActStyle
from rollout.trajectory import Kind

STYLE = StateActStyle("Do it.")
R, A, F, T = Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING

WHOLE = """\
goal: find some apple and put it in sidetable
locations visited: fridge 1, diningtable 1
current location: diningtable 1
current inventory: None
thought: None
action: go to diningtable 2"""

CASES = {
    "the whole form": (
        WHOLE,
        [
            (F, "goal:"),
            (R, " find some apple and put it in sidetable"),
            (F, "\nlocations visited:"),
            (R, " fridge 1, diningtable 1"),
            (F, "\ncurrent location:"),
            (R, " diningtable 1"),
            (F, "\ncurrent inventory:"),
            (R, " None"),
            (F, "\nthought:"),
            (R, " None"),
            (F, "\naction:"),
            (A, " go to diningtable 2"),
        ],
        "go to diningtable 2",
    ),
    "capitals, and a prompt's mark before the first key": (
        "> Goal: buy\nCurrent Selection: red\nAction: click[Buy Now]",
        [
            (F, "> Goal:"),
            (R, " buy"),
            (F, "\nCurrent Selection:"),
            (R, " red"),
            (F, "\nAction:"),
            (A, " click[Buy Now]"),
        ],
        "click[Buy Now]",
    ),
    "underscores for spaces": (
        "locations_visited: a\naction: go",
        [(F, "locations_visited:"), (R, " a"), (F, "\naction:"), (A, " go")],
        "go",
    ),
    "an action alone": ("action: go", [(F, "action:"), (A, " go")], "go"),
    "no action": ("goal: a\nthought: b", [(F, "goal:"), (R, " a"), (F, "\nthought:"), (R, " b")], None),
    "only words": ("hm", [(R, "hm")], None),
    "nothing": ("", [], None),
    "an empty action": ("thought: a\naction:  ", [(F, "thought:"), (R, " a"), (F, "\naction:  ")], None),
    "an empty value": ("goal:\naction: go", [(F, "goal:\naction:"), (A, " go")], "go"),
    "a key of no world is part of the value before": (
        "thought: a\nmood: b\naction: go",
        [(F, "thought:"), (R, " a\nmood: b"), (F, "\naction:"), (A, " go")],
        "go",
    ),
    "a key within a line is no key": (
        "thought: my goal: x\naction: go",
        [(F, "thought:"), (R, " my goal: x"), (F, "\naction:"), (A, " go")],
        "go",
    ),
    "what a model invents after its action is not read": (
        "thought: a\naction: go\nYou win.\n\ngoal: b\naction: stay",
        [(F, "thought:"), (R, " a"), (F, "\naction:"), (A, " go"), (T, "\nYou win.\n\ngoal: b\naction: stay")],
        "go",
    ),
    "a mark within a line counts if no line begins with one": (
        "thought: a. action: go",
        [(F, "thought:"), (R, " a. "), (F, "action:"), (A, " go")],
        "go",
    ),
}


@pytest.mark.parametrize(("text", "parts", "action"), CASES.values(), ids=CASES.keys())
def test_texts_are_parsed_as_in_the_table(
    cut: Callable[..., object], text: str, parts: list[tuple[Kind, str]], action: str | None
) -> None:
    assert cut(STYLE, text) == parts
    assert STYLE.parse(text).action == action


def test_keys_of_another_environment_are_recognized(cut: Callable[..., object]) -> None:
    style = StateActStyle("Do it.", keys=("pages read (all)",))
    assert cut(style, "pages read (all): a\naction: go") == [
        (F, "pages read (all):"),
        (R, " a"),
        (F, "\naction:"),
        (A, " go"),
    ]


def test_a_demonstration_turn_is_rendered_with_its_state_and_none_for_empty_values() -> None:
    state = (
        ("goal", "find some apple and put it in sidetable"),
        ("locations visited", "fridge 1, diningtable 1"),
        ("current location", "diningtable 1"),
        ("current inventory", ""),
    )
    turn = DemonstrationTurn("", "go to diningtable 2", "You arrive.", state)
    assert STYLE.turn(turn) == (WHOLE, "You arrive.")
