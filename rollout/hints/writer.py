"""From failed episodes to a bank of hints, by rules or by a model that reads what the student saw and did.

    failed episodes ──▶ write_hints ──▶ a Writing each ──▶ bank_of ──▶ HintBank

An episode from which no hint could be made is data: its `Writing` says why.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from rollout.errors import Boundary, EpisodeError, UserError
from rollout.frozen_model import FrozenModel
from rollout.hints.asking import ChatSession, Conversation, json_inside
from rollout.hints.bank import Hint, HintBank, merged
from rollout.hints.config import HintConfig, ModelWriter
from rollout.hints.rules import RuleBook, RuleBooks, general_rules, has_failed, hint_of
from rollout.hints.wording import generalised
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
"""What is shown of a longer observation."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What one failed episode gave.

    Attributes:
        task, category, environment: of the episode.
        hints: that were made from it, the most telling first.
        seen: kinds of places in which the wanted thing was seen.
        answers: how often a model was asked.
        failure: why there are no hints, where something went wrong.
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
) -> list[Writing]:
    """Make hints of all episodes that the agent failed, in their order; others are passed over.

    Args:
        trajectories: with their segments; drawn from lazily.
        config: who writes, and how much.
        chat: the model that writes (made with `SYSTEM`); needed if ``config.writer`` is one.
        rules: those of each environment, which write, or name what a model's hint must not.
        concurrency: episodes that the model reads at once.

    Raises:
        UserError: there is no model to write.
    """
    failed = enumerate(trajectory for trajectory in trajectories if has_failed(trajectory))
    written: dict[int, Writing] = {}

    async def work() -> None:
        for number, trajectory in failed:
            written[number] = await _write(trajectory, config, chat, rules(trajectory.identity.environment))

    if isinstance(config.writer, ModelWriter) and chat is None:
        raise UserError("hints.writer.by is llm, but no model is there to write; give one, or set it to rules")
    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return [written[number] for number in sorted(written)]


async def _write(trajectory: Trajectory, config: HintConfig, chat: ChatSession | None, book: RuleBook[Any]) -> Writing:
    if isinstance(config.writer, ModelWriter) and chat is not None:
        return await write_by_model(trajectory, config, config.writer, chat, book)
    return write_by_rules(trajectory, config, book)


def bank_of(writings: Sequence[Writing], config: HintConfig, rules: RuleBooks = general_rules) -> HintBank:
    """One bank of all that was written, with where wanted things were seen most often, in the words of the rules."""
    hints = [*(hint for writing in writings for hint in writing.hints), *_where_to_look(writings, rules)]
    return merged((h for h in hints if len(h.text) <= config.max_hint_characters), config.dedupe_above)


def count_writings(writings: Sequence[Writing]) -> Mapping[str, int]:
    """What to report of them: episodes, those without hints, those that a model was given up on, hints, answers."""
    return {
        "episodes": len(writings),
        "without_hints": sum(not writing.hints for writing in writings),
        "given_up": sum(writing.failure is not None for writing in writings),
        "hints": sum(len(writing.hints) for writing in writings),
        "answers": sum(writing.answers for writing in writings),
    }


def write_by_rules(trajectory: Trajectory, config: HintConfig, book: RuleBook[Any]) -> Writing:
    """Hints by the rules of the episode's environment."""
    identity = trajectory.identity
    hints = book.write(trajectory, config.max_hints_per_episode, config.max_hint_characters)
    return Writing(identity.task, identity.task_type, identity.environment, hints, book.places(trajectory))


async def write_by_model(
    trajectory: Trajectory, config: HintConfig, writer: ModelWriter, chat: ChatSession, book: RuleBook[Any]
) -> Writing:
    """Hints by a model, asked again while its answer cannot be used, and then given up."""
    identity = trajectory.identity
    reading = _Reading(trajectory, config, book)
    failure: Failure | None = None
    answers = 0
    try:
        talk = _begin(trajectory, config, writer, chat, book)
        for retry in range(writer.retries + 1):
            if retry:
                talk.say(_COMPLAINT.format(what=reading.complaint))
            reading.read(await talk.answer(writer.sampling, writer.timeout_s))
            answers += 1
            if not reading.complaint:
                break
        if not reading.hints:
            failure = Failure(Boundary.PARSER.value, "UnusableAnswer", reading.complaint)
    except EpisodeError as error:
        failure = None if reading.hints else error.failure
    return Writing(identity.task, identity.task_type, identity.environment, tuple(reading.hints), (), answers, failure)


@dataclass(slots=True)
class _Reading:
    """The newest answer: the hints in it that can be used, and what is wrong with the rest."""

    trajectory: Trajectory
    config: HintConfig
    book: RuleBook[Any]
    hints: list[Hint] = field(default_factory=list)
    complaint: str = ""

    def read(self, text: str) -> None:
        """Take in an answer; what an earlier one gave stays if this one gives nothing."""
        try:
            answer = _Answer.model_validate_json(json_inside(text))
        except ValidationError as error:
            self.complaint = _plain(error)
            return
        names = self.book.names_in(self.trajectory)
        good, bad = [], []
        for answered in answer.hints[: self.config.max_hints_per_episode]:
            try:
                # The record knows the type of its task; a model may misname it.
                good.append(hint_of(generalised(answered.text, names), self.trajectory))
            except ValidationError as error:
                bad.append(_plain(error))
                continue
            if len(good[-1].text) > self.config.max_hint_characters:
                bad.append(f"{len(good.pop().text)} characters in one hint are too many")
        self.hints = list(dict.fromkeys(good)) or self.hints
        self.complaint = bad[0][:_COMPLAINT_CHARACTERS] if bad else ""


def transcript(first: str, turns: Sequence[CompletedTurn], kept: int) -> str:
    """An episode as text for a reader: how it began, and of its turns the first and the last, ``kept`` in all."""
    head = kept // 3
    tail = turns[len(turns) - (kept - head) :] if kept > head else []
    shown = list(turns) if kept >= len(turns) else [*turns[:head], *tail]
    parts, last = [_clipped(first)], 0
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
    yield f"Answer: {_clipped(turn.observation)}"


def _clipped(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _OBSERVATION_CHARACTERS else f"{text[:_OBSERVATION_CHARACTERS]} (...)"


def _begin(
    trajectory: Trajectory, config: HintConfig, writer: ModelWriter, chat: ChatSession, book: RuleBook[Any]
) -> Conversation:
    """The conversation about an episode, with as many turns of it as leave room for all answers."""
    identity, turns = trajectory.identity, completed_turns(trajectory)
    request = _REQUEST.format(
        category=identity.task_type,
        most=config.max_hints_per_episode,
        characters=config.max_hint_characters,
        placeholders=", ".join(f"{{{name}}}" for name in book.placeholders),
    )
    first = chat.engine.max_model_len - writer.sampling.max_tokens
    # Short of room, rather no second try than nothing to read.
    room = max(first - writer.retries * (writer.sampling.max_tokens + _COMPLAINT_CHARACTERS), first // 2)
    kept = len(turns)
    while True:
        text = transcript(initial_observation(trajectory), turns, kept)
        talk = chat.begin(text, request, f"hints/{identity.role}/{identity.round}/{identity.task}/{identity.attempt}")
        if len(talk) <= room or kept <= 1:
            return talk
        kept = kept * 3 // 4


def _where_to_look(writings: Iterable[Writing], rules: RuleBooks) -> Iterator[Hint]:
    """For each type of task, the kinds of places in which most episodes saw what they wanted."""
    seen: dict[tuple[str, str], Counter[str]] = {}
    episodes: Counter[tuple[str, str]] = Counter()
    for writing in writings:
        key = writing.environment, writing.category
        seen.setdefault(key, Counter()).update(writing.seen)
        episodes[key] += bool(writing.seen)
    for (environment, category), kinds in seen.items():
        look_for = rules(environment).look_for
        if kinds and look_for is not None:
            ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
            frequency = episodes[environment, category]
            yield Hint(category=category, text=look_for(ordered), frequency=frequency, source=environment)


def _plain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    what = ".".join(map(str, first["loc"]))
    reason = str(first["msg"]).removeprefix("Value error, ")
    return (f"{what}: {reason}" if what else reason)[:_COMPLAINT_CHARACTERS]
