"""The chain-of-thought style: all reasoning and the answer in one turn, without tools or observations.

Source: chain-of-thought prompting (Wei et al., 2022), with the answer in tags as in the teacher's prompts of Agent
Distillation (arXiv 2505.17612, section 3); the prompt text is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.errors import UserError
from rollout.grammar import Choice, FreeText, Grammar
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.labels import TurnText
from rollout.prompts.style import BaseStyle, ParsedTurn
from rollout.trajectory import Kind

TURN_FORMAT = """\
Think step by step, with an empty line between the steps. Then give the answer:
<answer>the answer</answer>"""
"""Tells the agent the format of a turn."""

_OPEN = "<answer>"
_CLOSE = "</answer>"
_ANSWER = re.compile(rf"{_OPEN}(?P<given>(?:(?!{_OPEN}).)*?)(?P<close>{_CLOSE}|\Z)", re.IGNORECASE | re.DOTALL)
_ARGUMENT = re.compile(r"\A\w+\[(.*)\]\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChainOfThoughtStyle(BaseStyle):
    """Steps of reasoning and an answer (`rollout.prompts.style.Style`).

    Attributes:
        answer: template of the environment's action that submits an answer, with ``{}`` for the answer.
    """

    answer: str = "finish[{}]"

    name = "cot"
    stop = (_CLOSE,)
    no_action = "There is no answer in what you wrote."

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        given = _ARGUMENT.match(turn.action)
        return turn_text(turn.thought, given[1] if given else turn.action), turn.observation

    def parse(self, text: str) -> ParsedTurn:
        """Split the text of one turn into reason, act, format and trailing. Any text is accepted.

        The act is the content of the last pair of tags outside think blocks, the tags are format, and all text before
        them is reason. Without a pair, a tag that is not closed extends to the end of the text: many servers remove the
        stop string.
        """
        turn = TurnText.read(text)
        answers = list(_ANSWER.finditer(turn.visible))
        if not answers:
            return turn.parsed([(Kind.REASON, len(text))], None)
        answer = ([answer for answer in answers if answer["close"]] or answers)[-1]
        start, end = answer.span("given")
        given = text[start:end].strip()
        spans = [
            (Kind.REASON, len(text[: answer.start()].rstrip())),
            (Kind.FORMAT, start),
            *([(Kind.ACT, end)] if given else []),
            (Kind.FORMAT, answer.end()),
        ]
        return turn.parsed(spans, self.answer.replace("{}", given) if given else None)

    def turn_grammar(self, action: Choice) -> Grammar:
        """Reasoning and an answer. Action templates are ignored."""
        if action.choices:
            raise UserError(
                "an answer after a chain of thought is not chosen from a list; set agent.acting.to to grammar, or "
                "agent.style to react, act or stateact"
            )
        return Grammar((FreeText("[^<]*", share=3), _OPEN, FreeText(r"[^<\s][^<]*"), _CLOSE))


def turn_text(steps: str, answer: str) -> str:
    """Text of one turn."""
    return f"{steps}\n\n{_OPEN}{answer}{_CLOSE}"


def first_thought(text: str) -> str:
    """First reasoning step: the text before the first empty line or tag (arXiv 2505.17612, equation 5)."""
    return text.partition(_OPEN)[0].strip().partition("\n\n")[0].strip()
