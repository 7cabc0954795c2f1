"""Asking a model something else than to act: a request, its answer, and another try with what was wrong."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.concurrency import within
from rollout.engine import Engine, Sampling
from rollout.environment import Reset
from rollout.errors import Boundary, EpisodeError, boundary
from rollout.grammar import Choice, Grammar
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.example import WorkedTurn
from rollout.prompts.style import Parsed, SharedWords
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import Failure, Kind, Segment


@dataclass(frozen=True, slots=True)
class AnswerStyle(SharedWords):
    """Whatever is written is the answer (`rollout.prompts.style.Style`)."""

    name = "answer"

    def task(self, instruction: str) -> str:
        return f"\n\n{instruction}"

    def turn(self, turn: WorkedTurn) -> tuple[str, str]:
        return turn.action, turn.observation

    def parse(self, text: str) -> Parsed:
        """All of it is act."""
        return Parsed(((Kind.ACT, len(text)),) if text else (), text.strip() or None)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar((action,))


class ChatSession:
    """A model that can be asked. Without state: one serves many conversations at once.

    Args:
        engine: answers.
        tokenizer: of the engine's model.
        instructions: the system message.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, instructions: str) -> None:
        self.engine = engine
        self._builder = PromptBuilder(tokenizer, AnswerStyle(instructions))

    def begin(self, material: str, request: str, session: str) -> Conversation:
        """A conversation that opens with ``material``, then ``request``; ``session`` names it to the engine."""
        return Conversation(self.engine, self._builder, self._builder.start(Reset(material, request)), session)


class Conversation:
    """Answers and further requests, one after the other."""

    def __init__(self, engine: Engine, builder: PromptBuilder, start: list[Segment], session: str) -> None:
        self._engine, self._builder, self._session = engine, builder, session
        self._token_ids = [token for segment in start for token in segment.token_ids]
        self._turn = 1
        self._show(builder.open_turn(1))

    def __len__(self) -> int:
        """Tokens so far, up to where the model goes on."""
        return len(self._token_ids)

    async def answer(self, sampling: Sampling, timeout_s: float) -> str:
        """What the model says, without special tokens.

        Raises:
            EpisodeError: the engine failed, was too slow, or has no room for an answer.
        """
        if len(self) + sampling.max_tokens > self._engine.max_model_len:
            what = f"{len(self)} tokens and an answer of {sampling.max_tokens} are more than the model takes"
            raise EpisodeError(Failure(Boundary.ENGINE.value, "PromptTooLong", what))
        with boundary(Boundary.ENGINE):
            asked = self._engine.generate(tuple(self._token_ids), sampling, self._session)
            completion = await within(timeout_s, asked)
        made = self._builder.turn(completion, self._turn)
        self._show(made.segments)
        return made.action or ""

    def say(self, text: str) -> None:
        """Go on after an answer."""
        self._show(self._builder.observation(text, self._turn))
        self._turn += 1
        self._show(self._builder.open_turn(self._turn))

    def _show(self, segments: tuple[Segment, ...] | list[Segment]) -> None:
        self._token_ids += [token for segment in segments for token in segment.token_ids]


def json_inside(text: str) -> str:
    """From the first brace to the last one: models put words and fences around JSON. Else the text."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
