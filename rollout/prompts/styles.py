"""The prompt styles by name, and their construction from an environment's texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rollout.errors import UserError
from rollout.prompts import act, codeact, cot, react, stateact
from rollout.prompts.example import Demonstration, Example
from rollout.prompts.style import Style
from rollout.prompts.tool import ACT, Tool

StyleName = Literal["react", "act", "stateact", "codeact", "cot"]

FORMAT_PLACEHOLDER = "{form}"
"""Placeholder in an environment's instructions for the description of the turn format."""


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
    """Create a style for one environment.

    Args:
        name: name of the style.
        instructions: the environment's instructions; ``{form}`` in them is replaced by the turn format.
        examples: all examples of the environment.
        shown: number of examples that are shown to the agent.
        tools: functions that the environment offers to code. Unless one of them accepts whole actions, a code agent is
            not shown the part of the instructions after ``{form}``, which lists the actions.
        added_tools: functions for code that do not belong to the environment.
        answer: template of the environment's action that submits an answer, with ``{}`` for the answer.

    Raises:
        UserError: an example cannot be rendered in this style, or the style needs ``answer`` and it is None.
    """
    keys = _state_keys(examples)
    for example in examples[:shown]:
        _check(name, example)
    shown_examples = tuple(examples[:shown])
    match name:
        case "react":
            return react.ReActStyle(instructions.replace(FORMAT_PLACEHOLDER, react.TURN_FORMAT), shown_examples)
        case "act":
            return act.ActStyle(instructions.replace(FORMAT_PLACEHOLDER, act.TURN_FORMAT), shown_examples)
        case "stateact":
            asked = keys or stateact.HOUSEHOLD_KEYS
            instructions = instructions.replace(FORMAT_PLACEHOLDER, stateact.turn_format(asked))
            known = tuple(dict.fromkeys((*keys, *stateact.KEYS)))
            return stateact.StateActStyle(instructions, shown_examples, known, asked)
        case "cot":
            if answer is None:
                raise UserError(
                    "agent.style is cot, which answers in a single turn, but this environment needs several turns; set "
                    "agent.style to react, act, stateact or codeact"
                )
            system_message = f"{_before_form(instructions)}\n{cot.TURN_FORMAT}"
            return cot.ChainOfThoughtStyle(system_message, shown_examples, answer)
        case "codeact":
            # The description of the functions is required: without it an agent cannot act.
            acts = any(tool.takes_actions for tool in tools)
            instructions = (
                instructions
                if acts and FORMAT_PLACEHOLDER in instructions
                else f"{_before_form(instructions)}\n{FORMAT_PLACEHOLDER}"
            )
            return codeact.CodeActStyle(
                instructions.replace(FORMAT_PLACEHOLDER, codeact.turn_format((*tools, *added_tools))), shown_examples
            )


def _before_form(instructions: str) -> str:
    return instructions.partition(FORMAT_PLACEHOLDER)[0].rstrip("\n")


def _state_keys(examples: Sequence[Example]) -> tuple[str, ...]:
    """Keys of all belief states in the examples, in order of first occurrence."""
    turns = (turn for example in examples if isinstance(example, Demonstration) for turn in example.turns)
    return tuple(dict.fromkeys(key for turn in turns for key, _ in turn.state or ()))


def _check(name: StyleName, example: Example) -> None:
    if isinstance(example, str):
        fits = name == "react"
    else:
        fits = name != "stateact" or all(turn.state for turn in example.turns)
    if not fits:
        raise UserError(
            f"agent.style is {name}, but the examples of this environment cannot be rendered in that style; "
            "set agent.examples to 0, or agent.style to react"
        )
