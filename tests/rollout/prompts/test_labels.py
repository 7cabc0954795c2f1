"""Properties of the parsers of all styles: labels in any spelling, think blocks, and linear time on hostile text."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.prompts.labels import is_think_tag, open_thinking
from rollout.prompts.style import INVENTED_OBSERVATION, Style
from rollout.prompts.styles import StyleName, new_style
from rollout.trajectory import Kind

STYLES: dict[str, Style] = {name: new_style(name, "Do it.", answer="{}") for name in get_args(StyleName)}
ACTION = {
    "act": "Action: look",
    "react": "Thought: next\nAction: look",
    "stateact": "thought: next\naction: look",
    "codeact": "Thought: next\nCode:\n```py\nlook\n```<end_code>",
    "cot": "next\n\n<answer>look</answer>",
}


def text_of(style: Style, text: str, kind: Kind) -> str:
    """All text of one kind."""
    spans = style.parse(text).spans
    starts = [0, *(end for _, end in spans)]
    return "".join(text[start:end] for start, (found, end) in zip(starts, spans, strict=False) if found is kind)


SPACES = st.sampled_from(["", " ", "  ", "\t"])
MARKS = st.sampled_from(["", "**", "__", "*", "`"])
BEFORE = st.sampled_from(["", "> ", "- ", "* ", "1. ", "2) ", "### ", "\t"])


@given(
    name=st.sampled_from(["act", "react", "stateact"]),
    word=st.sampled_from(["Action", "action", "ACTION", "行动"]),
    before=BEFORE,
    mark=MARKS,
    number=st.sampled_from(["", " 1", "  12", " #3", "(4)", " [5]"]),
    is_inside=st.booleans(),
    space=SPACES,
    colon=st.sampled_from([":", "："]),
)
def test_a_label_is_found_in_any_case_with_numbers_markdown_and_full_width_colons(
    name: str, word: str, before: str, mark: str, number: str, is_inside: bool, space: str, colon: str
) -> None:
    label = f"{mark}{word}{number}{space}{colon}{mark}" if is_inside else f"{mark}{word}{number}{mark}{space}{colon}"
    text = f"Thought: next\n{before}{label} go to shelf 1\nObservation: x"
    assert STYLES[name].parse(text).action == "go to shelf 1"
    assert text_of(STYLES[name], text, Kind.ACT) == " go to shelf 1"
    assert text_of(STYLES[name], text, Kind.TRAILING) == "\nObservation: x"


@pytest.mark.parametrize("name", STYLES)
@given(thought=st.text(alphabet="ab\n :`", max_size=20), template=st.sampled_from(list(ACTION)))
def test_no_action_is_read_from_a_think_block(name: str, thought: str, template: str) -> None:
    inner = f"{thought}\n{ACTION[template]}\n"
    for block in (f"<think>{inner}</think>", f"{inner}</think>", f"<think>{inner}"):
        assert STYLES[name].parse(block).action is None
        assert text_of(STYLES[name], block, Kind.REASON) == block
    text = f"<think>{inner}</think>\n{ACTION[name]}"
    assert STYLES[name].parse(text).action == "look"
    assert text_of(STYLES[name], text, Kind.REASON).startswith(f"<think>{inner}</think>")


@pytest.mark.parametrize("stop", INVENTED_OBSERVATION)
@pytest.mark.parametrize("name", ["act", "react", "stateact", "codeact"])
def test_a_stop_string_that_the_engine_keeps_is_trailing(name: str, stop: str) -> None:
    text = ACTION[name] + stop
    assert stop in STYLES[name].stop
    assert STYLES[name].parse(text).action == "look"
    assert text_of(STYLES[name], text, Kind.TRAILING) == stop


@pytest.mark.parametrize("name", STYLES)
@given(rest=st.text(min_size=1).filter(lambda rest: rest.strip() and "think" not in rest.lower()))
def test_text_after_the_action_is_trailing_and_white_space_is_format(name: str, rest: str) -> None:
    text = f"{ACTION[name]}\nObservation: {rest}"
    assert STYLES[name].parse(text).action == "look"
    assert text_of(STYLES[name], text, Kind.TRAILING).startswith("\nObservation: ")
    assert text_of(STYLES[name], f"{ACTION[name]}\n \n", Kind.TRAILING) == ""


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|assistant|>\n<think>\n", "<think>\n"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", ""),
        ("<|assistant|>", ""),
        ("", ""),
    ],
)
def test_a_generation_prompt_opens_a_think_block_if_its_last_think_tag_does(prompt: str, opened: str) -> None:
    assert open_thinking(prompt) == opened


def test_think_tags_are_recognized_as_single_tokens() -> None:
    assert all(map(is_think_tag, ["<think>", "</think>\n", " <Thinking>", "[/THINK]"]))
    assert not any(map(is_think_tag, ["<|end|>", "think", "<think>a", ""]))


HOSTILE = (
    *(
        "Action:",
        "Action:\n",
        "\nAction:",
        "Action: `",
        "action: ",
        "\n**Action",
        "Action ((",
        "Action   ",
        "\n\n Action",
    ),
    *("goal:\n", "\nThought: a", "Thought:", "\nObservation:", "Observation:\n"),
    *("<think>", "</think>", "<think></think>", "<think>a</think>\nAction:\n", "<answer>", "<answer></answer>"),
    *(
        "```",
        "```py\n",
        "```\n",
        "x```py\n",
        "```py\nf(\n```\n",
        "```py\n'''\n```\n",
        "Code: ```",
        "<end_code>",
        "Code:\n",
    ),
    *("Code:\n", "`", "*", "**", "#", "\n#", "> ", "- ", "1. ", " ", "\n", "\t\n", "\x1f", "(", "-1", "a.", "not "),
)


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", ["act", "stateact", "codeact", "cot"])
def test_long_hostile_text_is_parsed_in_linear_time(name: str) -> None:
    """The limit is far from the few seconds of linear work; quadratic work takes minutes."""
    for unit in HOSTILE:
        text = unit * (200_000 // len(unit))
        spans = STYLES[name].parse(text).spans
        assert spans[-1][1] == len(text)


@pytest.mark.parametrize(
    "code",
    [
        "-" * 60_000 + "1",
        "a" + ".b" * 60_000,
        "a" + "+b" * 60_000,
        "(" * 60_000,
        "not " * 20_000 + "a",
        "lambda:" * 20_000 + "a",
        "f'{" * 10_000,
        "x = 1\x00",
        "x = '\ud800'",
        "9" * 10_000,
    ],
    ids=lambda code: f"{code[:6]!a}",
)
def test_code_that_breaks_pythons_parser_is_left_to_the_interpreter(code: str) -> None:
    assert STYLES["codeact"].parse(f"Thought: a\nCode:\n```py\n{code}\n```").action == code
