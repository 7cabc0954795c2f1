"""An episode of a teacher in the tokens of a student with another tokenizer.

What the segments are stays: kinds, authors, turns and content, each segment encoded by itself, so that no token reaches
over a segment's edge. What belongs to the chat template becomes the student's: the glue around the messages, and the
special token with which the model ended its turn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from learner.alignment import Stretch, align_scores, stretches
from learner.dialect import Dialect
from rollout.trajectory import Author, Kind, Segment, Trajectory


class Retokenizer:
    """Puts episodes that were recorded with one tokenizer into the tokens of another."""

    def __init__(self, teacher: str, student: str) -> None:
        """Args: folders, ``builtin:`` names or hub names. Raises `UserError` if one is not fit for this."""
        self._teacher, self._student = Dialect(teacher), Dialect(student)

    def translate(self, trajectory: Trajectory) -> Trajectory:
        """The episode in the student's tokens. The teacher's scores come along by stretch; see `learner.alignment`.

        Log-probabilities of the policy belong to tokens that are no more, and are left out.
        """
        content = [segment for segment in trajectory.segments if segment.author is not Author.TEMPLATE]
        last_turn = max((segment.turn for segment in trajectory.segments), default=0)
        turns = [[s for s in content if s.turn == turn] for turn in range(last_turn + 1)]
        segments = [*self._opening(turns[0])]
        for turn, members in enumerate(turns[1:], start=1):
            segments += self._turn(members, turn)
        return dataclasses.replace(trajectory, segments=tuple(segments))

    def _opening(self, members: Sequence[Segment]) -> Iterator[Segment]:
        yield from self._student.glue("before_system", 0)
        yield from self._contents([s for s in members if s.kind is Kind.SYSTEM])
        yield from self._student.glue("system_to_user", 0)
        yield from self._contents([s for s in members if s.kind is not Kind.SYSTEM])

    def _turn(self, members: Sequence[Segment], turn: int) -> Iterator[Segment]:
        written = [s for s in members if s.author in (Author.MODEL, Author.TEACHER)]
        answers = [s for s in members if s.author not in (Author.MODEL, Author.TEACHER)]
        yield from self._student.glue("generation_prompt", turn)
        if not members:
            return
        if written and (ending := self._ending(written[-1])):
            yield from self._contents(written[:-1])
            yield self._ended(written[-1], ending)
        else:
            yield from self._contents(written)
            yield from self._student.glue("end_of_turn", turn)
        if answers:
            yield from self._student.glue("next_user", turn)
            yield from self._contents(answers)

    def _contents(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        for segment in segments:
            if ids := self._student.encode(segment.text):
                yield self._with_scores(segment, segment.text, ids, self._parts(segment.token_ids, ids, segment.text))

    def _ending(self, segment: Segment) -> int:
        """How many special tokens the model's last segment ends with."""
        special = [token in self._teacher.special_ids for token in reversed(segment.token_ids)]
        return special.index(False) if False in special else len(special)

    def _ended(self, segment: Segment, ending: int) -> Segment:
        """The model's last segment of a turn; its last ``ending`` tokens become the student's end of turn."""
        content, end = segment.token_ids[:-ending], segment.token_ids[-ending:]
        text = segment.text.removesuffix(self._teacher.decode(end))
        ids = self._student.encode(text)
        parts = self._parts(content, ids, text)
        parts.append((range(len(content), len(segment.token_ids)), range(len(ids), len(ids) + 1)))
        end_text, end_ids = self._student.pieces["end_of_turn"]
        return self._with_scores(segment, text + end_text, ids + end_ids, parts)

    def _parts(self, teacher_ids: Sequence[int], student_ids: Sequence[int], text: str) -> list[Stretch]:
        return stretches(self._teacher.ends(teacher_ids, text), self._student.ends(student_ids, text))

    def _with_scores(self, segment: Segment, text: str, ids: tuple[int, ...], parts: Sequence[Stretch]) -> Segment:
        scores = segment.teacher and align_scores(segment.teacher, segment.token_ids, parts, len(ids))
        return Segment(segment.kind, segment.author, segment.turn, text, ids, teacher=scores)
