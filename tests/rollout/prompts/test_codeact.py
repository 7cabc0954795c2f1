"""Rendering and parsing of CodeAct turns. The table defines the semantics of the parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.prompts.codeact import CodeActStyle, as_code, error, observation, turn_format
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import INVENTED_OBSERVATION
from rollout.prompts.tool import ACT, Tool
from rollout.trajectory import Kind

STYLE = CodeActStyle("Do it.")
R, A, F, T = Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING

CASES = {
    "the whole form": (
        "Thought: I add.\nCode:\n```py\nx = 1 + 1\nprint(x)\n```<end_code>",
        [(F, "Thought:"), (R, " I add."), (F, "\nCode:\n```py\n"), (A, "x = 1 + 1\nprint(x)"), (F, "\n```<end_code>")],
        "x = 1 + 1\nprint(x)",
    ),
    "python, no end mark": (
        "Thought: a\nCode:\n```python\nf()\n```",
        [(F, "Thought:"), (R, " a"), (F, "\nCode:\n```python\n"), (A, "f()"), (F, "\n```")],
        "f()",
    ),
    "no language, no word before": ("a\n```\nf()\n```", [(R, "a"), (F, "\n```\n"), (A, "f()"), (F, "\n```")], "f()"),
    "code alone": ("```py\nf()\n```<end_code>", [(F, "```py\n"), (A, "f()"), (F, "\n```<end_code>")], "f()"),
    "no block": ("Thought: print(1)", [(F, "Thought:"), (R, " print(1)")], None),
    "a block that does not end and does not parse was cut off and is not run": (
        "Thought: a\nCode:\n```py\nprint(1",
        [(F, "Thought:"), (R, " a\nCode:\n```py\nprint(1")],
        None,
    ),
    "a block that only the end mark ends": (
        "```py\nf()<end_code>",
        [(F, "```py\n"), (A, "f()"), (F, "<end_code>")],
        "f()",
    ),
    "a fence at the end of a line of code": (
        "```py\nf()```<end_code>",
        [(F, "```py\n"), (A, "f()"), (F, "```<end_code>")],
        "f()",
    ),
    "and without an end mark": ("```py\nf()```", [(F, "```py\n"), (A, "f()"), (F, "```")], "f()"),
    "an empty block": ("Thought: a\n```py\n```", [(F, "Thought:"), (R, " a"), (F, "\n```py\n```")], None),
    "nothing": ("", [], None),
    "an invented observation and a second block are not read": (
        "```py\nf()\n```\nObservation: 1\n```py\ng()\n```",
        [(F, "```py\n"), (A, "f()"), (F, "\n```"), (T, "\nObservation: 1\n```py\ng()\n```")],
        "f()",
    ),
    "indented code keeps its shape": (
        "```py\n  if x:\n    f()\n  ```",
        [(F, "```py\n"), (A, "  if x:\n    f()"), (F, "\n  ```")],
        "if x:\n  f()",
    ),
    "a fence within a line of code is the code's if a line begins with one": (
        "```py\ns = '```'\nf(s)\n```",
        [(F, "```py\n"), (A, "s = '```'\nf(s)"), (F, "\n```")],
        "s = '```'\nf(s)",
    ),
    "lines end with a carriage return": ("```py\r\nf()\r\n```", [(F, "```py\r\n"), (A, "f()\r"), (F, "\n```")], "f()"),
}


@pytest.mark.parametrize(("text", "parts", "action"), CASES.values(), ids=CASES.keys())
def test_texts_are_parsed_as_in_the_table(
    cut: Callable[..., object], text: str, parts: list[tuple[Kind, str]], action: str | None
) -> None:
    assert cut(STYLE, text) == parts
    assert STYLE.parse(text).action == action


def test_a_demonstration_turn_is_rendered_as_a_call_or_as_its_own_code() -> None:
    text, observed = STYLE.turn(DemonstrationTurn("I look.", 'look at "é"', "A door."))
    assert text == 'Thought: I look.\nCode:\n```py\nprint(act("look at \\"é\\""))\n```<end_code>'
    assert observed == "Observation:\nExecution logs:\nA door.\nLast output from code snippet:\nNone"
    text, _ = STYLE.turn(DemonstrationTurn("I add.", "calculate[1+1]", "2", code="x = 1 + 1\nprint(x)"))
    assert STYLE.parse(text).action == "x = 1 + 1\nprint(x)"


def test_the_observation_has_the_output_and_the_value_of_the_code() -> None:
    assert observation("1\n2\n", "[3]") == "Observation:\nExecution logs:\n1\n2\nLast output from code snippet:\n[3]"


def test_an_error_follows_the_output_and_asks_for_another_attempt() -> None:
    assert error("no x").startswith("Error:\nno x\n")
    assert error("no x", "1\n").startswith("Observation:\nExecution logs:\n1\nError:\nno x\n")


def test_an_answer_without_code_is_answered_with_the_turn_format() -> None:
    assert STYLE.no_action.startswith("Error:\n")
    assert STYLE.parse(STYLE.no_action).action == "the code", "the form that it shows is the form that is read"


def test_the_instructions_describe_each_function() -> None:
    text = turn_format((ACT, Tool("search", "finds pages", "query (string)", "list of strings")))
    assert "- act: " in text
    assert "- search: finds pages\n    Takes inputs: query (string)\n    Returns an output of type: list of str" in text
    assert all(word in text for word in ("Thought:", "Code:\n```py\n", "```<end_code>", "print", "final_answer"))


def test_turns_end_at_the_end_of_code_or_at_an_invented_observation() -> None:
    assert STYLE.stop == ("<end_code>", *INVENTED_OBSERVATION, "Calling tools:")


@pytest.mark.parametrize(
    "said", ["One line.", "A page\nthat ends its last line\n", "", "Last output from code snippet:\n3"]
)
def test_the_environments_text_is_recovered_from_an_observation(said: str) -> None:
    assert STYLE.environment_text(observation(f"{said}\n")) == said
    assert STYLE.environment_text(STYLE.turn(DemonstrationTurn("", "look", said))[1]) == said


def test_other_observations_are_returned_unchanged() -> None:
    for text in ("You see a fridge 1.\nYour task is to: rest.", error("ValueError: no", "printed before"), ""):
        assert STYLE.environment_text(text) == text


def test_instructions_without_functions_list_none() -> None:
    assert turn_format(()).endswith("give it to final_answer(...).")


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("search[Old Mill]", 'print(search("Old Mill"))'),
        ('lookup["corn" [ears]]', r'print(lookup("\"corn\" [ears]"))'),
        ("finish[Éire]", 'final_answer("Éire")'),
    ],
)
def test_actions_in_brackets_are_converted_to_code(action: str, code: str) -> None:
    assert as_code(action) == code
