"""Conversations with a model outside of episodes: a request, the answer, and follow-up messages."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.concurrency import with_timeout
from rollout.engine import Engine, Sampling
from rollout.environment import Reset
from rollout.errors import Boundary, EpisodeError, boundary
from rollout.grammar import Choice, Grammar
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.example import DemonstrationTurn
from rollout.prompts.style import BaseStyle, ParsedTurn
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import Failure, Kind, Segment


@dataclass(frozen=True, slots=True)
class AnswerStyle(BaseStyle):
    """The whole text of a turn is the answer (`rollout.prompts.style.Style`)."""

    name = "answer"

    def task(self, instruction: str) -> str:
        return f"\n\n{instruction}"

    def turn(self, turn: DemonstrationTurn) -> tuple[str, str]:
        return turn.action, turn.observation

    def parse(self, text: str) -> ParsedTurn:
        """Mark the whole text as act."""
        return ParsedTurn(((Kind.ACT, len(text)),) if text else (), text.strip() or None)

    def turn_grammar(self, action: Choice) -> Grammar:
        return Grammar((action,))


class ChatSession:
    """Starts conversations with a model. Stateless: one session serves concurrent conversations.

    Args:
        engine: generates the answers.
        tokenizer: the tokenizer of the engine's model.
        instructions: the system message.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, instructions: str) -> None:
        self.engine = engine
        self._builder = PromptBuilder(tokenizer, AnswerStyle(instructions))

    def start(self, material: str, request: str, session: str) -> Conversation:
        """Start a conversation with ``material`` and then ``request``. ``session`` is the engine's session id."""
        return Conversation(self.engine, self._builder, self._builder.start(Reset(material, request)), session)


class Conversation:
    """A multi-turn conversation: replies of the model alternate with user messages."""

    def __init__(self, engine: Engine, builder: PromptBuilder, start: list[Segment], session: str) -> None:
        self._engine, self._builder, self._session = engine, builder, session
        self._token_ids = [token for segment in start for token in segment.token_ids]
        self._turn = 1
        self._append(builder.open_turn(1))

    def __len__(self) -> int:
        """Number of tokens of the next prompt."""
        return len(self._token_ids)

    async def reply(self, sampling: Sampling, timeout_s: float) -> str:
        """Generate the model's next reply, without special tokens.

        Raises:
            EpisodeError: the engine failed or timed out, or prompt and answer exceed its context.
        """
        if len(self) + sampling.max_tokens > self._engine.max_model_len:
            message = (
                f"a prompt of {len(self)} tokens and an answer of {sampling.max_tokens} exceed the context of "
                f"{self._engine.max_model_len} tokens"
            )
            raise EpisodeError(Failure(Boundary.ENGINE.value, "PromptTooLong", message))
        with boundary(Boundary.ENGINE):
            request = self._engine.generate(tuple(self._token_ids), sampling, self._session)
            completion = await with_timeout(timeout_s, request)
        turn = self._builder.turn(completion, self._turn)
        self._append(turn.segments)
        return turn.action or ""

    def add_user_message(self, text: str) -> None:
        """Append a user message after a reply."""
        self._append(self._builder.observation(text, self._turn))
        self._turn += 1
        self._append(self._builder.open_turn(self._turn))

    def _append(self, segments: tuple[Segment, ...] | list[Segment]) -> None:
        self._token_ids += [token for segment in segments for token in segment.token_ids]


def extract_json(text: str) -> str:
    """Text from the first to the last brace, because models wrap JSON in prose and fences; else the whole text."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
