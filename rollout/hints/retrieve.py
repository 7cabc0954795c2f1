"""Retrieves the hints of an episode, given its task type, task and first observation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import ConfigDict, ValidationError

from rollout.environment import Reset
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.hints.bank import Hint, HintBank
from rollout.hints.chat import ChatSession, extract_json
from rollout.hints.config import HintConfig
from rollout.tools.retrieval.config import LexicalConfig
from rollout.tools.retrieval.lexical import LexicalIndex, WordRows

RANKING_SYSTEM = "You choose, from a numbered list of advice, what helps an agent most with the task that it begins."
_REQUEST = """\
Choose the {k} pieces of advice that help most with this task, the best one first.
Answer with JSON and nothing else, in this form:
{{"answer": [their numbers]}}"""
_INTEGER = re.compile(r"\d+")


class _Ranking(FrozenModel):
    model_config = ConfigDict(strict=True)

    answer: list[int]


class HintRetriever:
    """Retrieves hints for episodes; one retriever serves concurrent episodes.

    Args:
        bank: the hints to choose from.
        config: number of hints, and the retrieval method.
        chat: session with the model that chooses (its instructions are `RANKING_SYSTEM`); required if
            ``config.retriever`` is ``llm``.

    Raises:
        UserError: the bank has fewer than ``config.k`` hints, or the retriever is ``llm`` and ``chat`` is None.
    """

    def __init__(self, bank: HintBank, config: HintConfig, chat: ChatSession | None = None) -> None:
        require_enough(bank, config)
        if config.k and config.retriever == "llm" and chat is None:
            raise UserError(
                "hints.retriever is llm, but no model is available; configure one, or set hints.retriever to lexical"
            )
        self._bank, self._config, self._chat = bank, config, chat
        self._words: dict[str, LexicalIndex] = {}

    async def choose(self, category: str, reset: Reset, session: str) -> tuple[str, ...]:
        """Return the texts of ``k`` different hints of ``category``, the best first; fewer only if it has no more.

        ``session`` is the session id for the engine.

        Raises:
            EpisodeError: the model failed.
        """
        hints, config = self._bank.in_category(category), self._config
        if not hints or not config.k:
            return ()
        query = f"{reset.instruction}\n{reset.observation}"
        by_words = self._by_words(category, query)
        if config.retriever == "lexical" or self._chat is None or len(hints) <= config.k:
            return unique_texts([*by_words, *hints], config.k)
        chosen = await self._by_model(self._chat, hints, reset, session)
        return unique_texts([*(chosen or by_words), *hints], config.k)

    def _by_words(self, category: str, query: str) -> list[Hint]:
        """Hints that share words with the query, the best first; ties go to the more frequent hint."""
        hints = self._bank.in_category(category)
        if category not in self._words:
            rows = WordRows(title_weight=0)
            for hint in hints:
                rows.add("", hint.text)
            self._words[category] = LexicalIndex.build(rows, LexicalConfig())
        return [hints[row] for row, _ in self._words[category].top(query, self._config.k)]

    async def _by_model(self, chat: ChatSession, hints: Sequence[Hint], reset: Reset, session: str) -> list[Hint]:
        """Hints that the model chose among those that fit its context; empty if its answer names none."""
        config, shown = self._config, len(hints)
        max_prompt_tokens = chat.engine.max_model_len - config.ranking_sampling.max_tokens
        while True:
            numbered = "\n".join(f"{number}. {hint.text}" for number, hint in enumerate(hints[:shown], start=1))
            material = f"The task: {reset.instruction}\nWhat the agent sees: {reset.observation}\n\nAdvice:\n{numbered}"
            conversation = chat.start(material, _REQUEST.format(k=config.k), session)
            if len(conversation) <= max_prompt_tokens or shown <= 1:
                break
            shown = shown * 3 // 4
        answer = await conversation.reply(config.ranking_sampling, config.ranking_timeout_s)
        return [hints[number - 1] for number in numbers_in(answer) if 1 <= number <= shown]


def require_enough(bank: HintBank, config: HintConfig, name: str = "the hint bank") -> None:
    """Raise `UserError` if the bank has fewer than ``config.k`` hints."""
    if config.k > len(bank):
        raise UserError(
            f"hints.k is {config.k}, but {name} has {len(bank)} hints; set hints.k to at most {len(bank)}, or build a "
            "larger bank from more failed episodes"
        )


def unique_texts(hints: Iterable[Hint], k: int) -> tuple[str, ...]:
    """First ``k`` distinct texts."""
    return tuple(dict.fromkeys(hint.text for hint in hints))[:k]


def numbers_in(answer: str) -> list[int]:
    """Parse the numbers of ``{"answer": [...]}``; in any other text, find all integers."""
    try:
        return _Ranking.model_validate_json(extract_json(answer)).answer
    except ValidationError:
        return [int(number) for number in _INTEGER.findall(answer) if len(number) < 10]
