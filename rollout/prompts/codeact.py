"""The CodeAct style: a thought, then a block of Python code that calls the environment's functions.

Source: the format is that of CodeAct (Wang et al., 2024) in the variant of smolagents 1.13; the prompt text is ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent

from rollout.errors import UserError
from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import BaseStyle, ParsedTurn, make_spans
from rollout.prompts.tool import ACT, Tool
from rollout.trajectory import Kind

_THOUGHT = re.compile(r"\s*Thought:")
_OPEN = re.compile(r"```(?:python|py)?[ \t\r]*\n", re.IGNORECASE)
_CLOSE = re.compile(r"\n[ \t]*```|\n?(?:```)?<end_code>")
_CLOSE_ANYWHERE = re.compile(r"```")
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
    stop = ("<end_code>", "Observation:", "Calling tools:")
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
        """Split the text of one turn into reason, act and format. Any text is accepted.

        ``Thought:`` at the start is format and optional. The act is the content of the first fenced block. The fences,
        ``Code:`` before them and all text after them are format. A block ends at a fence that begins a line or at
        ``<end_code>``; if there is neither, at any fence. Text without a complete block is all reason.
        """
        thought = _THOUGHT.match(text)
        start = thought.end() if thought else 0
        opened = _OPEN.search(text, start)
        closed = _closing(text, opened.end()) if opened else None
        if opened is None or closed is None:
            return ParsedTurn(make_spans((Kind.FORMAT, start), (Kind.REASON, len(text))), None)
        code = dedent(text[opened.end() : closed.start()]).strip() or None
        spans = make_spans(
            (Kind.FORMAT, start),
            (Kind.REASON, len(text[: opened.start()].rstrip().removesuffix("Code:").rstrip())),
            (Kind.FORMAT, opened.end()),
            (Kind.ACT if code else Kind.FORMAT, closed.start()),
            (Kind.FORMAT, len(text)),
        )
        return ParsedTurn(spans, code)

    def turn_grammar(self, action: Choice) -> Grammar:
        """A thought, the line ``Code:`` and code. Action templates are ignored."""
        if action.choices:
            raise UserError(
                "there is no list of the programs that code could be chosen from; set agent.acting.to to grammar, or "
                "agent.style to react, act or stateact"
            )
        return Grammar(("Thought: ", FreeText("[^`]*"), "```py\n", FreeText(_LINES, share=3), "```<end_code>"))


def _closing(text: str, start: int) -> re.Match[str] | None:
    """End of the block whose content begins at ``start``."""
    # In an empty block, the line break before the closing fence is the one before ``start``.
    return _CLOSE.search(text, start - 1) or _CLOSE_ANYWHERE.search(text, start)
