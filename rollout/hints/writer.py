"""Builds a bank of hints from failed episodes, by rules or by a model that reads the episodes.

    failed episodes ──▶ write_hints ──▶ EpisodeHints ──▶ build_bank ──▶ HintBank

An episode without hints is recorded, too: its `EpisodeHints` has the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from rollout.concurrency import run_all
from rollout.errors import Boundary, EpisodeError, UserError
from rollout.frozen_model import FrozenModel
from rollout.hints.bank import Hint, HintBank, first_error, merge_hints
from rollout.hints.chat import ChatSession, Conversation, extract_json
from rollout.hints.config import HintConfig, ModelWriter
from rollout.hints.rules import RuleBook, RuleBooks, general_rules, has_failed, hint_of
from rollout.hints.wording import generalize
from rollout.trajectory import Failure, Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation

SYSTEM = "You read how an agent failed at a task. You write short advice for its next tasks of the same type."
_REQUEST = """\
This is how an agent tried a task of the type "{category}". It did not succeed.
Find what it did wrong or left out. Write 1 to {most} pieces of advice that would have helped.
Each one is an order of one sentence, has at most {characters} characters, and holds for other tasks of this type too.
Instead of names of this one task, write {placeholders}.
Answer with JSON and nothing else, in this form:
{{"hints": [{{"env_type": "{category}", "text": "..."}}]}}"""
_COMPLAINT = "This cannot be used: {what}. Answer again with JSON and nothing else, in the form that was asked for."
_COMPLAINT_CHARACTERS = 200
_OBSERVATION_CHARACTERS = 1000
"""Longer observations are truncated to this length."""


@dataclass(frozen=True, slots=True)
class EpisodeHints:
    """The hints from one failed episode.

    Attributes:
        task: id of the episode's task.
        category: type of the task.
        environment: name of the episode's environment.
        hints: the hints, the most important first.
        seen: kinds of locations at which the target object was seen.
        answers: number of answers of the model.
        failure: the reason why there are no hints, if an error caused it.
    """

    task: str
    category: str
    environment: str
    hints: tuple[Hint, ...] = ()
    seen: tuple[str, ...] = ()
    answers: int = 0
    failure: Failure | None = None


class _Answered(FrozenModel):
    env_type: str
    text: str


class _Answer(FrozenModel):
    hints: tuple[_Answered, ...] = Field(min_length=1)


async def write_hints(
    trajectories: Iterable[Trajectory],
    config: HintConfig,
    chat: ChatSession | None = None,
    *,
    rules: RuleBooks = general_rules,
    concurrency: int = 32,
) -> list[EpisodeHints]:
    """Write hints for all episodes that the agent failed, in their order. Other episodes are skipped.

    Args:
        trajectories: trajectories with their segments; consumed lazily.
        config: the writer and its limits.
        chat: session with the model that writes (its instructions are `SYSTEM`); required if ``config.writer`` is a
            `ModelWriter`.
        rules: returns the rules of an environment, which write hints, or replace names in a model's hints.
        concurrency: number of episodes that the model reads concurrently.

    Raises:
        UserError: the writer is a model and ``chat`` is None.
    """
    failed = enumerate(trajectory for trajectory in trajectories if has_failed(trajectory))
    written: dict[int, EpisodeHints] = {}

    async def work() -> None:
        for number, trajectory in failed:
            written[number] = await _write(trajectory, config, chat, rules(trajectory.identity.environment))

    if isinstance(config.writer, ModelWriter) and chat is None:
        raise UserError(
            "hints.writer.by is llm, but no model is available; configure one, or set hints.writer.by to rules"
        )
    await run_all(*(work() for _ in range(concurrency)))
    return [written[number] for number in sorted(written)]


async def _write(
    trajectory: Trajectory, config: HintConfig, chat: ChatSession | None, book: RuleBook[Any]
) -> EpisodeHints:
    if isinstance(config.writer, ModelWriter) and chat is not None:
        return await write_with_model(trajectory, config, config.writer, chat, book)
    return write_by_rules(trajectory, config, book)


def build_bank(results: Sequence[EpisodeHints], config: HintConfig, rules: RuleBooks = general_rules) -> HintBank:
    """Merge all hints into one bank, and add hints about the locations at which targets were seen most often."""
    hints = [*(hint for result in results for hint in result.hints), *_location_hints(results, rules)]
    return merge_hints((h for h in hints if len(h.text) <= config.max_hint_characters), config.dedupe_above)


def summarize(results: Sequence[EpisodeHints]) -> Mapping[str, int]:
    """Counts for the report: episodes, episodes without hints, failed episodes, hints and model answers."""
    return {
        "episodes": len(results),
        "without_hints": sum(not result.hints for result in results),
        "given_up": sum(result.failure is not None for result in results),
        "hints": sum(len(result.hints) for result in results),
        "answers": sum(result.answers for result in results),
    }


def write_by_rules(trajectory: Trajectory, config: HintConfig, book: RuleBook[Any]) -> EpisodeHints:
    """Write hints by the rules of the episode's environment."""
    identity = trajectory.identity
    hints = book.write(trajectory, config.max_hints_per_episode, config.max_hint_characters)
    return EpisodeHints(identity.task, identity.task_type, identity.environment, hints, book.places(trajectory))


async def write_with_model(
    trajectory: Trajectory, config: HintConfig, writer: ModelWriter, chat: ChatSession, book: RuleBook[Any]
) -> EpisodeHints:
    """Write hints by a model, with up to ``writer.retries`` further requests after answers that cannot be used."""
    identity = trajectory.identity
    parser = _AnswerParser(trajectory, config, book)
    failure: Failure | None = None
    answers = 0
    try:
        conversation = _start_conversation(trajectory, config, writer, chat, book)
        for retry in range(writer.retries + 1):
            if retry:
                conversation.add_user_message(_COMPLAINT.format(what=parser.error))
            parser.read(await conversation.reply(writer.sampling, writer.timeout_s))
            answers += 1
            if not parser.error:
                break
        if not parser.hints:
            failure = Failure(Boundary.PARSER.value, "UnusableAnswer", parser.error)
    except EpisodeError as error:
        failure = None if parser.hints else error.failure
    return EpisodeHints(
        identity.task, identity.task_type, identity.environment, tuple(parser.hints), (), answers, failure
    )


@dataclass(slots=True)
class _AnswerParser:
    """Parses answers of the model: the valid hints, and the first error of the newest answer."""

    trajectory: Trajectory
    config: HintConfig
    book: RuleBook[Any]
    hints: list[Hint] = field(default_factory=list)
    error: str = ""

    def read(self, text: str) -> None:
        """Parse an answer. Hints of an earlier answer are kept if this one has none."""
        try:
            answer = _Answer.model_validate_json(extract_json(text))
        except ValidationError as error:
            self.error = first_error(error)[:_COMPLAINT_CHARACTERS]
            return
        names = self.book.names_in(self.trajectory)
        accepted, errors = [], []
        for answered in answer.hints[: self.config.max_hints_per_episode]:
            try:
                # The task type is taken from the record, because the model may get it wrong.
                accepted.append(hint_of(generalize(answered.text, names), self.trajectory))
            except ValidationError as error:
                errors.append(first_error(error))
                continue
            if len(accepted[-1].text) > self.config.max_hint_characters:
                errors.append(f"{len(accepted.pop().text)} characters in one hint are too many")
        self.hints = list(dict.fromkeys(accepted)) or self.hints
        self.error = errors[0][:_COMPLAINT_CHARACTERS] if errors else ""


def transcript(first: str, turns: Sequence[CompletedTurn], num_turns: int) -> str:
    """Render an episode as text: the initial_observation and ``num_turns`` of its turns, from the start and the end."""
    head = num_turns // 3
    tail = turns[len(turns) - (num_turns - head) :] if num_turns > head else []
    shown = list(turns) if num_turns >= len(turns) else [*turns[:head], *tail]
    parts, last = [_truncate(first)], 0
    for turn in shown:
        if turn.number > last + 1:
            parts.append("(...)")
        parts.append("\n".join(_lines(turn)))
        last = turn.number
    return "\n\n".join(parts)


def _lines(turn: CompletedTurn) -> Iterator[str]:
    yield f"Turn {turn.number}"
    if turn.thought:
        yield f"Thought: {turn.thought}"
    yield f"Action: {turn.action or '(none could be read)'}"
    yield f"Answer: {_truncate(turn.observation)}"


def _truncate(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _OBSERVATION_CHARACTERS else f"{text[:_OBSERVATION_CHARACTERS]} (...)"


def _start_conversation(
    trajectory: Trajectory, config: HintConfig, writer: ModelWriter, chat: ChatSession, book: RuleBook[Any]
) -> Conversation:
    """Start a conversation about an episode, with as many of its turns as fit the context beside all answers."""
    identity, turns = trajectory.identity, completed_turns(trajectory)
    request = _REQUEST.format(
        category=identity.task_type,
        most=config.max_hints_per_episode,
        characters=config.max_hint_characters,
        placeholders=", ".join(f"{{{name}}}" for name in book.placeholders),
    )
    first = chat.engine.max_model_len - writer.sampling.max_tokens
    # In a short context, reserve less for retries, so that at least half of it is left for the episode.
    max_prompt_tokens = max(first - writer.retries * (writer.sampling.max_tokens + _COMPLAINT_CHARACTERS), first // 2)
    num_turns = len(turns)
    while True:
        text = transcript(initial_observation(trajectory), turns, num_turns)
        conversation = chat.start(
            text, request, f"hints/{identity.role}/{identity.round}/{identity.task}/{identity.attempt}"
        )
        if len(conversation) <= max_prompt_tokens or num_turns <= 1:
            return conversation
        num_turns = num_turns * 3 // 4


def _location_hints(results: Iterable[EpisodeHints], rules: RuleBooks) -> Iterator[Hint]:
    """One hint per task type: the kinds of locations at which most episodes saw their target."""
    seen: dict[tuple[str, str], Counter[str]] = {}
    episodes: Counter[tuple[str, str]] = Counter()
    for result in results:
        key = result.environment, result.category
        seen.setdefault(key, Counter()).update(result.seen)
        episodes[key] += bool(result.seen)
    for (environment, category), kinds in seen.items():
        look_for = rules(environment).look_for
        if kinds and look_for is not None:
            ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
            frequency = episodes[environment, category]
            yield Hint(category=category, text=look_for(ordered), frequency=frequency, source=environment)
