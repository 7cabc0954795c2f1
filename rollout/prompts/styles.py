"""The prompt styles by name, and how one is made from what an environment gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rollout.errors import UserError
from rollout.prompts import act, codeact, cot, react, stateact
from rollout.prompts.example import Demonstration, Example
from rollout.prompts.style import Style
from rollout.prompts.tool import ACT, Tool

StyleName = Literal["react", "act", "stateact", "codeact", "cot"]

FORM = "{form}"
"""Stands, in an environment's instructions, for how the style writes a turn."""


def new_style(
    name: StyleName,
    instructions: str,
    examples: Sequence[Example] = (),
    *,
    shown: int = 0,
    tools: Sequence[Tool] = (ACT,),
    added_tools: Sequence[Tool] = (),
    answer: str | None = None,
) -> Style:
    """A style for one environment.

    Args:
        name: of the style.
        instructions: the environment's; ``{form}`` in them stands for how a turn is written.
        examples: all that the environment has.
        shown: how many of them the agent sees.
        tools: functions that the environment gives to code; unless one of them takes whole actions, code is not told of
            the actions that the instructions list behind ``{form}``.
        added_tools: functions for code that are not of the environment.
        answer: the environment's action that gives an answer, with ``{}`` for it.

    Raises:
        UserError: an example to be shown cannot be worded in this style, or it needs an answer where none is given.
    """
    keys = _state_keys(examples)
    for example in examples[:shown]:
        _check(name, example)
    shown_examples = tuple(examples[:shown])
    match name:
        case "react":
            return react.ReActStyle(instructions.replace(FORM, react.FORM), shown_examples)
        case "act":
            return act.ActStyle(instructions.replace(FORM, act.FORM), shown_examples)
        case "stateact":
            asked = keys or stateact.HOUSEHOLD_KEYS
            instructions = instructions.replace(FORM, stateact.form(asked))
            known = tuple(dict.fromkeys((*keys, *stateact.KEYS)))
            return stateact.StateActStyle(instructions, shown_examples, known, asked)
        case "cot":
            if answer is None:
                raise UserError(
                    "agent.style is cot, which gives an answer at once, but this environment is acted in until the "
                    "task is done; set agent.style to react, act, stateact or codeact"
                )
            told = f"{_before_form(instructions)}\n{cot.FORM}"
            return cot.ChainOfThoughtStyle(told, shown_examples, answer)
        case "codeact":
            # Without being told of the functions nobody can act at all.
            acts = any(tool.takes_actions for tool in tools)
            instructions = instructions if acts and FORM in instructions else f"{_before_form(instructions)}\n{FORM}"
            return codeact.CodeActStyle(
                instructions.replace(FORM, codeact.form((*tools, *added_tools))), shown_examples
            )


def _before_form(instructions: str) -> str:
    return instructions.partition(FORM)[0].rstrip("\n")


def _state_keys(examples: Sequence[Example]) -> tuple[str, ...]:
    """The keys of all states in the examples, in the order in which they first occur."""
    turns = (turn for example in examples if isinstance(example, Demonstration) for turn in example.turns)
    return tuple(dict.fromkeys(key for turn in turns for key, _ in turn.state or ()))


def _check(name: StyleName, example: Example) -> None:
    if isinstance(example, str):
        fits = name == "react"
    else:
        fits = name != "stateact" or all(turn.state for turn in example.turns)
    if not fits:
        raise UserError(
            f"agent.style is {name}, but the worked examples of this environment cannot be worded in it; "
            "set agent.examples to 0, or agent.style to react"
        )
