"""Converts a teacher's episode to the tokens of a student with another tokenizer.

Kinds, authors, turns and content of the segments are kept. Each segment is encoded separately, so that no token crosses
a segment boundary. The texts around the messages and the special token that ended the model's turn are replaced by
those of the student's chat template. The result is the sequence that the student itself would have seen in the episode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import accumulate

from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.alignment import AlignedGroup, align_scores, aligned_groups
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import ChatSettings, Tokenizer, load_tokenizer
from rollout.trajectory import Author, Kind, Segment, Trajectory


class Retokenizer:
    """Converts episodes that were recorded with one tokenizer to the tokens of another."""

    def __init__(self, teacher: str, student: str, chat: ChatSettings | None = None) -> None:
        """Load both tokenizers.

        Each model has its own chat template.

        Args:
            teacher: folder, ``builtin:`` name or hub name of the model that recorded the episodes.
            student: folder, ``builtin:`` name or hub name of the model to convert them for.
            chat: the date that templates print.

        Raises:
            UserError: a tokenizer cannot be loaded, or prompts cannot be built with it.
        """
        self._teacher, source = _load(teacher, chat)
        self._student, template = _load(student, chat)
        self._digest = template.digest
        self._before_answer = _before_answer(source, template)
        self._template_ids = {
            name: self._student.encode_markers(text) for name, text in dataclasses.asdict(template).items()
        }

    def translate(self, trajectory: Trajectory) -> Trajectory:
        """Convert an episode to the student's tokens. The teacher's scores are aligned (`align_scores`).

        Log-probabilities of the policy are dropped, because they belong to the teacher's tokens.
        """
        content = [segment for segment in trajectory.segments if segment.author is not Author.TEMPLATE]
        last_turn = max((segment.turn for segment in trajectory.segments), default=0)
        turns = [[s for s in content if s.turn == turn] for turn in range(last_turn + 1)]
        segments = [*self._opening(turns[0])]
        for turn, members in enumerate(turns[1:], start=1):
            segments += self._turn(members, turn)
        policy = dataclasses.replace(trajectory.policy, template_digest=self._digest)
        return dataclasses.replace(trajectory, policy=policy, segments=tuple(segments))

    def _opening(self, members: Sequence[Segment]) -> Iterator[Segment]:
        yield from self._template_part("before_system", 0)
        yield from self._contents([s for s in members if s.kind is Kind.SYSTEM])
        yield from self._template_part("system_to_user", 0)
        yield from self._contents([s for s in members if s.kind is not Kind.SYSTEM])

    def _turn(self, members: Sequence[Segment], turn: int) -> Iterator[Segment]:
        written = [s for s in members if s.author in (Author.MODEL, Author.TEACHER)]
        answers = [s for s in members if s.author not in (Author.MODEL, Author.TEACHER)]
        yield from self._template_part("generation_prompt", turn)
        if not members:
            return
        if written and (ids := self._student.encode_markers(self._before_answer)):
            yield Segment(Kind.FORMAT, written[0].author, turn, self._student.decode(ids), ids)
        if written and (ending := self._ending(written[-1])):
            yield from self._contents(written[:-1])
            yield self._ended(written[-1], ending)
        else:
            yield from self._contents(written)
            yield from self._template_part("end_of_turn", turn)
        if answers:
            yield from self._template_part("next_user", turn)
            yield from self._contents(answers)

    def _template_part(self, piece: str, turn: int) -> Iterator[Segment]:
        """A part of the student's chat template; nothing if it is empty."""
        if ids := self._template_ids[piece]:
            yield Segment(Kind.FORMAT, Author.TEMPLATE, turn, self._student.decode(ids), ids)

    def _contents(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        for segment in segments:
            if ids := self._student.encode(segment.text):
                yield self._with_scores(segment, segment.text, ids, self._parts(segment.token_ids, ids, segment.text))

    def _ending(self, segment: Segment) -> int:
        """Number of special tokens at the end of the model's last segment."""
        special = [token in self._teacher.special_ids for token in reversed(segment.token_ids)]
        return special.index(False) if False in special else len(special)

    def _ended(self, segment: Segment, ending: int) -> Segment:
        """The model's last segment of a turn, with its last ``ending`` tokens replaced by the student's end of turn."""
        content, end = segment.token_ids[:-ending], segment.token_ids[-ending:]
        text = segment.text.removesuffix(self._teacher.decode(end))
        ids, end_ids = self._student.encode(text), self._template_ids["end_of_turn"]
        parts = self._parts(content, ids, text)
        parts.append((range(len(content), len(segment.token_ids)), range(len(ids), len(ids) + 1)))
        return self._with_scores(segment, text + self._student.decode(end_ids), ids + end_ids, parts)

    def _parts(self, teacher_ids: Sequence[int], student_ids: Sequence[int], text: str) -> list[AlignedGroup]:
        return aligned_groups(_ends(self._teacher, teacher_ids, text), _ends(self._student, student_ids, text))

    def _with_scores(self, segment: Segment, text: str, ids: tuple[int, ...], parts: Sequence[AlignedGroup]) -> Segment:
        scores = segment.teacher and align_scores(segment.teacher, segment.token_ids, parts, len(ids))
        return dataclasses.replace(segment, text=text, token_ids=ids, logprobs=None, teacher=scores)


def _before_answer(teacher: ChatTemplate, student: ChatTemplate) -> str:
    """What the student writes before the text of a teacher whose generation prompt opens a thought, or opens none.

    Raises:
        UserError: the teacher writes in channels.
    """
    if teacher.has_channels:
        raise UserError(
            "the teacher's chat template has channels, which another tokenizer does not have; let the teacher answer "
            "through the chat API (teacher.engine.api: chat) with a tokenizer whose template has none"
        )
    if teacher.thought:
        return "" if student.thought else teacher.thought
    return student.answer_prefix


def _load(name: str, chat: ChatSettings | None) -> tuple[Tokenizer, ChatTemplate]:
    """A model's tokenizer, with the markers of its chat template as special tokens, and that template."""
    tokenizer = load_tokenizer(model_folder(name), chat)
    template = ChatTemplate.from_tokenizer(tokenizer)
    return tokenizer.with_template_markers(template.text), template


def _ends(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[int]:
    """``[num_tokens]`` character offset in ``text`` at which each token ends, rounded up to a whole character.

    If the tokens do not decode to the text (a segment boundary splits a character), all offsets are the text's length.
    """
    pieces = tokenizer.pieces(ids)
    return list(accumulate(map(len, pieces))) if "".join(pieces) == text else [len(text)] * len(ids)
