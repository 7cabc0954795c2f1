"""The chain-of-thought style: all the reasoning and the answer in one turn, without a tool or a world to look at.

Source of the form: chain-of-thought prompting (Wei et al., 2022), with the answer in marks as Agent Distillation's
teacher writes it (arXiv 2505.17612, section 3); the prose is our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.errors import UserError
from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import WorkedTurn
from rollout.prompts.style import Parsed, SharedWords, cut
from rollout.trajectory import Kind

FORM = """\
Think step by step, with an empty line between the steps. Then give the answer:
<answer>the answer</answer>"""
"""How a turn is written, in words for the agent."""

_OPEN = "<answer>"
_CLOSE = "</answer>"
_ARGUMENT = re.compile(r"\A\w+\[(.*)\]\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChainOfThoughtStyle(SharedWords):
    """Steps of reasoning and an answer (`rollout.prompts.style.Style`).

    Attributes:
        answer: the environment's action that gives an answer, with ``{}`` for it.
    """

    answer: str = "finish[{}]"

    name = "cot"
    stop = (_CLOSE,)
    no_action = "There is no answer in what you wrote."

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        given = _ARGUMENT.match(turn.action)
        return written(turn.thought, given[1] if given else turn.action), turn.observation

    def parse(self, text: str) -> Parsed:
        """Cut what a model wrote into reason, act and format. Any text is accepted.

        The act is the inside of the last pair of marks, the marks are format, and all else before them is reason. A
        mark that is opened and not closed reaches to the end of the text.
        """
        opened = text.rfind(_OPEN)
        if opened < 0:
            return Parsed(cut((Kind.REASON, len(text))), None)
        start = opened + len(_OPEN)
        closed = text.find(_CLOSE, start)
        end = closed if closed >= 0 else len(text)
        given = text[start:end].strip()
        spans = cut(
            (Kind.REASON, len(text[:opened].rstrip())),
            (Kind.FORMAT, start),
            (Kind.ACT if given else Kind.FORMAT, end),
            (Kind.FORMAT, len(text)),
        )
        return Parsed(spans, self.answer.replace("{}", given) if given else None)

    def turn_grammar(self, action: Choice) -> Grammar:
        """Reasoning and an answer; the forms of actions do not matter to it."""
        if action.choices:
            raise UserError(
                "an answer after a chain of thought is not chosen from a list; set agent.acting.to to grammar, or "
                "agent.style to react, act or stateact"
            )
        return Grammar((FreeText("[^<]*", share=3), _OPEN, FreeText(r"[^<\s][^<]*"), _CLOSE))


def written(steps: str, answer: str) -> str:
    """A whole turn."""
    return f"{steps}\n\n{_OPEN}{answer}{_CLOSE}"


def first_thought(text: str) -> str:
    """The first step of such reasoning: all before the first empty line or mark (arXiv 2505.17612, equation 5)."""
    return text.partition(_OPEN)[0].strip().partition("\n\n")[0].strip()
