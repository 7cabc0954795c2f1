"""The CodeAct style: a thought, then a block of Python code that calls the environment's functions.

Source: the format is that of CodeAct (Wang et al., 2024) in the variant of smolagents 1.13; the prompt text is ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.errors import UserError
from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.fences import code_block
from rollout.prompts.labels import FIRST_THOUGHT, TurnText
from rollout.prompts.style import INVENTED_OBSERVATION, BaseStyle, ParsedTurn
from rollout.prompts.tool import ACT, Tool
from rollout.trajectory import Kind

_EMPTY, _FULL = r"[ \t]*\n", r"[ \t]*[^` \t\n][^\n]*\n"
_LINES = f"({_EMPTY})*{_FULL}({_EMPTY}|{_FULL})*"
"""Lines of code: at least one is not empty, none is a fence."""
_LOGS = "Observation:\nExecution logs:\n"
_LAST = "Last output from code snippet:\n"


def turn_text(thought: str, code: str) -> str:
    """Text of one turn."""
    return f"Thought: {thought}\nCode:\n```py\n{code}\n```<end_code>"


_TURN_FORMAT = turn_text("what you know and what to do next", "the code")


def turn_format(tools: Sequence[Tool] = (ACT,)) -> str:
    """Tells the agent the format of a turn and the available functions."""
    functions = "".join(f"\n{tool.text()}" for tool in tools)
    return (
        "You work in turns, and act by running Python. In each turn write a thought and a block of code:\n"
        f"{_TURN_FORMAT}\n"
        "The observation that answers it holds what the code printed and the value of its last line. Variables live on "
        "until the task ends; print what you want to see. When you know the result, give it to final_answer(...)."
        + (f" Besides Python's own you have these functions:{functions}" if tools else "")
    )


def as_code(action: str) -> str:
    """Convert ``search[Old Mill]`` to ``print(search("Old Mill"))``, and ``finish[...]`` to a call of final_answer."""
    name, _, argument = action.removesuffix("]").partition("[")
    text = json.dumps(argument, ensure_ascii=False)
    return f"final_answer({text})" if name == "finish" else f"print({name}({text}))"


def observation(printed: str, value: str | None = None) -> str:
    """Observation after code that ran. ``value`` is the repr of the last expression."""
    return f"{_LOGS}{printed}{'' if printed.endswith(chr(10)) else chr(10)}{_LAST}{value}"


def error(message: str, printed: str = "") -> str:
    """Observation after code that failed. ``printed`` is its output up to the failure."""
    logs = f"{_LOGS}{printed.rstrip()}\n" if printed.strip() else ""
    return (
        f"{logs}Error:\n{message}\n"
        "Mend this and go on; do not make the same mistake twice. If it keeps failing, go about it in another way."
    )


@dataclass(frozen=True, slots=True)
class CodeActStyle(BaseStyle):
    """A thought and code (`rollout.prompts.style.Style`). The action is the code.

    The instructions must contain `turn_format`.
    """

    name = "codeact"
    stop = ("<end_code>", *INVENTED_OBSERVATION, "Calling tools:")
    no_action = error(f"There is no block of code in your answer. Write it like this:\n{_TURN_FORMAT}")

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        code = turn.code or f"print(act({json.dumps(turn.action, ensure_ascii=False)}))"
        return turn_text(turn.thought, code), observation(f"{turn.observation}\n")

    def environment_text(self, observation: str) -> str:
        """Output of the code without the line break of its ``print``; the whole text if the format is another."""
        if not (observation.startswith(_LOGS) and f"\n{_LAST}" in observation):
            return observation
        return observation.removeprefix(_LOGS).rpartition(f"\n{_LAST}")[0]

    def turn_prefix(self, thought: str) -> str:
        return f"Thought: {thought}"

    def parse(self, text: str) -> ParsedTurn:
        """Split the text of one turn into reason, act, format and trailing. Any text is accepted.

        ``Thought:`` at the start is format and optional. The act is the content of `code_block`. Its fences,
        ``Code:`` before them and ``<end_code>`` after them are format; all text after these is trailing. Text without a
        block is all reason, up to an observation that the model invented. A block that is not closed was cut off.
        """
        turn = TurnText.read(text)
        thought = FIRST_THOUGHT.match(turn.visible)
        start = [(Kind.FORMAT, thought.end())] if thought else []
        block = code_block(turn)
        if block is None:
            return turn.parsed([*start, (Kind.REASON, turn.invented())], None)
        spans = [
            *start,
            (Kind.REASON, block.before),
            (Kind.FORMAT, block.code_start),
            *([(Kind.ACT, block.code_end)] if block.code else []),
            (Kind.FORMAT, block.end),
        ]
        return turn.parsed(spans, block.code or None)

    def turn_grammar(self, action: Choice) -> Grammar:
        """A thought, the line ``Code:`` and code. Action templates are ignored."""
        if action.choices:
            raise UserError(
                "there is no list of the programs that code could be chosen from; set agent.acting.to to grammar, or "
                "agent.style to react, act or stateact"
            )
        return Grammar(("Thought: ", FreeText("[^`]*"), "```py\n", FreeText(_LINES, share=3), "```<end_code>"))
