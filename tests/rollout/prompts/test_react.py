"""Parsing of ReAct turns. The table defines the semantics of the parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.prompts.react import ReActStyle
from rollout.trajectory import Kind

STYLE = ReActStyle("Do it.")
R, A, F, T = Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING

CASES = {
    "thought and action": (
        "Thought: a b\nAction: go to x",
        [(F, "Thought:"), (R, " a b"), (F, "\nAction:"), (A, " go to x")],
        "go to x",
    ),
    "no thought mark": ("a b\nAction: go", [(R, "a b"), (F, "\nAction:"), (A, " go")], "go"),
    "no thought at all": ("Action: go", [(F, "Action:"), (A, " go")], "go"),
    "no action": ("Thought: hm", [(F, "Thought:"), (R, " hm")], None),
    "only words": ("hm", [(R, "hm")], None),
    "nothing": ("", [], None),
    "an empty action": ("Thought: a\nAction:  ", [(F, "Thought:"), (R, " a"), (F, "\nAction:"), (F, "  ")], None),
    "several actions: the first": (
        "Thought: a\nAction: go\nAction: stay",
        [(F, "Thought:"), (R, " a"), (F, "\nAction:"), (A, " go"), (T, "\nAction: stay")],
        "go",
    ),
    "an invented observation is not read and not trained": (
        "Thought: a\nAction: go\nObservation: won",
        [(F, "Thought:"), (R, " a"), (F, "\nAction:"), (A, " go"), (T, "\nObservation: won")],
        "go",
    ),
    "the word inside a thought is no mark if a line begins with it": (
        "Thought: an Action: is due\nAction: go",
        [(F, "Thought:"), (R, " an Action: is due"), (F, "\nAction:"), (A, " go")],
        "go",
    ),
    "else it is": ("Thought: a. Action: go", [(F, "Thought:"), (R, " a. "), (F, "Action:"), (A, " go")], "go"),
    "the action on the next line": (
        "Thought: a\nAction:\ngo",
        [(F, "Thought:"), (R, " a"), (F, "\nAction:"), (A, "\ngo")],
        "go",
    ),
    "indented, after empty lines": (
        "\n Thought: a\n\n  Action: go",
        [(F, "\n Thought:"), (R, " a\n"), (F, "\n  Action:"), (A, " go")],
        "go",
    ),
    "the marks run together": ("Thought:\nAction: go", [(F, "Thought:"), (F, "\nAction:"), (A, " go")], "go"),
    "a second thought is part of the first": (
        "Thought: a\nThought: b\nAction: go",
        [(F, "Thought:"), (R, " a\nThought: b"), (F, "\nAction:"), (A, " go")],
        "go",
    ),
}


def cut(text: str) -> list[tuple[Kind, str]]:
    start, parts = 0, []
    for kind, end in STYLE.parse(text).spans:
        parts.append((kind, text[start:end]))
        start = end
    return parts


@pytest.mark.parametrize(("text", "parts", "action"), CASES.values(), ids=CASES.keys())
def test_texts_are_parsed_as_in_the_table(text: str, parts: list[tuple[Kind, str]], action: str | None) -> None:
    assert cut(text) == parts
    assert STYLE.parse(text).action == action


WORDS = st.sampled_from(["Thought:", "Action:", "\n", " ", "\t", "\r", "go", "é", "Observation:", "\x00"])


@given(st.one_of(st.text(), st.lists(WORDS).map("".join)))
def test_any_text_is_parsed_without_loss(text: str) -> None:
    parts = cut(text)
    assert "".join(part for _, part in parts) == text
    assert all(part for _, part in parts)
    acts = [part.strip() for kind, part in parts if kind is Kind.ACT]
    action = STYLE.parse(text).action
    assert acts == ([] if action is None else [action])


@given(thought=st.text(alphabet="ab :é"), action=st.text(alphabet="ab :é", min_size=1).filter(str.strip))
def test_a_well_formed_turn_is_parsed_to_its_thought_and_action(thought: str, action: str) -> None:
    text = f"Thought:{thought}\nAction:{action}"
    assert STYLE.parse(text).action == action.strip()
    assert (Kind.ACT, action) in cut(text)
    assert not thought or (Kind.REASON, thought) in cut(text)
