"""One builder makes what the engine sees and what the learner trains on, segment by segment.

A demonstration written as text goes through the same path as a completion from an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from sys import maxsize

from rollout.engine import Completion
from rollout.environment import Reset
from rollout.prompts.style import Style
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import Author, Kind, Segment


@dataclass(frozen=True, slots=True)
class Turn:
    """A completion, cut: its segments hold exactly its tokens, then an end of turn if the model left it out.

    ``action`` is stripped and ready for the environment; None if the model wrote none.
    """

    segments: tuple[Segment, ...]
    action: str | None


class PromptBuilder:
    """Builds one model's view of an episode. Without state: one builder serves many episodes at once.

    An episode is ``start``, then for each turn ``open_turn``, the engine's completion, ``turn``, ``observation``.
    """

    def __init__(self, tokenizer: Tokenizer, style: Style) -> None:
        template = ChatTemplate.from_tokenizer(tokenizer)
        self.tokenizer = tokenizer.guarding(template.text)
        self.style = style
        self.end_of_turn_id = self.tokenizer.encode_markers(template.end_of_turn)[0]
        self._before_system = self._glue(template.before_system)
        self._instructions = self._content(Kind.SYSTEM, Author.PROMPT, 0, style.instructions)
        self._system_to_user = self._glue(template.system_to_user)
        self._examples = [self._content(Kind.EXAMPLE, Author.PROMPT, 0, style.example(e)) for e in style.examples]
        self._generation_prompt = self._glue(template.generation_prompt)
        self._end_of_turn = self._glue(template.end_of_turn)
        self._next_user = self._glue(template.next_user)

    def start(self, reset: Reset, *, hints: Sequence[str] = ()) -> list[Segment]:
        """System message and first user message. ``hints`` are for a teacher's eyes and stand before the task."""
        return [
            *_at(0, self._before_system),
            *self._instructions,
            *_at(0, self._system_to_user),
            *(segment for example in self._examples for segment in example),
            *self.hints(hints),
            *self._content(Kind.OBSERVATION, Author.ENVIRONMENT, 0, reset.observation),
            *self._content(Kind.TASK, Author.PROMPT, 0, self.style.task(reset.instruction)),
        ]

    def hints(self, hints: Sequence[str]) -> list[Segment]:
        """Hints as they stand before the task."""
        return [s for hint in hints for s in self._content(Kind.HINT, Author.PROMPT, 0, self.style.hint(hint))]

    def open_turn(self, turn: int, first_thought: str = "") -> list[Segment]:
        """The glue after which the model writes turn ``turn`` (from 1), and a thought that it has to go on from."""
        prefix = self._content(Kind.PREFIX, Author.TEACHER, turn, self._prefix(first_thought))
        return _at(turn, self._generation_prompt) + prefix

    def turn(self, completion: Completion, turn: int, first_thought: str = "") -> Turn:
        """Cut a completion into reason, act and format where it was made; see `Style.parse`.

        A token that straddles a cut belongs to the segment of its first character. Leading special tokens, and all from
        the first special token after them (normally the end of turn), are format and are not parsed. A turn that was
        opened with a first thought is parsed with it; the thought itself is no part of what is given. If the last token
        is not the end of turn, the template's is appended, authored by the template.
        """
        ids = completion.token_ids
        pieces = self.tokenizer.pieces(ids)
        kinds, action = self._kinds(ids, pieces, self._prefix(first_thought))
        segments = list(_cut(completion, pieces, kinds, turn))
        if not ids or ids[-1] != self.end_of_turn_id:
            segments += _at(turn, self._end_of_turn)
        return Turn(tuple(segments), action)

    def observation(self, text: str, turn: int) -> list[Segment]:
        """The user message that answers turn ``turn``."""
        return _at(turn, self._next_user) + self._content(Kind.OBSERVATION, Author.ENVIRONMENT, turn, text)

    def written(self, text: str) -> Completion:
        """An assistant's text as a completion: its tokens and the end of turn, as an engine would have returned it."""
        token_ids = (*self.tokenizer.encode(text), self.end_of_turn_id)
        return Completion(token_ids, None, self.tokenizer.decode(token_ids), "stop")

    def transcript(
        self, reset: Reset, turns: Iterable[tuple[str, str | None]], *, hints: Sequence[str] = ()
    ) -> list[Segment]:
        """A whole episode from text alone: ``turns`` are (assistant text, the observation that answered it or None)."""
        segments = self.start(reset, hints=hints)
        for number, (assistant, observation) in enumerate(turns, start=1):
            segments += self.open_turn(number)
            segments += self.turn(self.written(assistant), number).segments
            if observation is not None:
                segments += self.observation(observation, number)
        return segments

    def _prefix(self, first_thought: str) -> str:
        return self.style.begun(first_thought) if first_thought else ""

    def _kinds(self, ids: Sequence[int], pieces: Sequence[str], before: str) -> tuple[list[Kind], str | None]:
        """The kind of each token, and the action. ``before`` is what the turn began with."""
        special = [token in self.tokenizer.special_ids for token in ids]
        begin = special.index(False) if False in special else len(ids)
        end = special.index(True, begin) if True in special[begin:] else len(ids)
        parsed = self.style.parse(before + "".join(pieces[begin:end]))
        kinds = [Kind.FORMAT] * begin
        kinds += list(_kind_of_each([before, *pieces[begin:end]], parsed.spans))[1:]
        return kinds + [Kind.FORMAT] * (len(ids) - end), parsed.action

    def _content(self, kind: Kind, author: Author, turn: int, text: str) -> list[Segment]:
        ids = self.tokenizer.encode(text)
        return [Segment(kind, author, turn, self.tokenizer.decode(ids), ids)] if ids else []

    def _glue(self, text: str) -> tuple[str, tuple[int, ...]]:
        ids = self.tokenizer.encode_markers(text)
        return self.tokenizer.decode(ids), ids


def _at(turn: int, glue: tuple[str, tuple[int, ...]]) -> list[Segment]:
    text, ids = glue
    return [Segment(Kind.FORMAT, Author.TEMPLATE, turn, text, ids)] if ids else []


def _kind_of_each(pieces: Sequence[str], spans: Sequence[tuple[Kind, int]]) -> Iterator[Kind]:
    """The kind of the span in which each piece begins; a piece without text goes with the one before it."""
    kind, position, remaining = Kind.FORMAT, 0, iter((*spans, (Kind.FORMAT, maxsize)))
    span_kind, span_end = next(remaining)
    for piece in pieces:
        while position >= span_end:
            span_kind, span_end = next(remaining)
        kind = span_kind if piece else kind
        yield kind
        position += len(piece)


def _cut(completion: Completion, pieces: Sequence[str], kinds: Sequence[Kind], turn: int) -> Iterator[Segment]:
    """One segment for each run of tokens of one kind, with its share of log-probabilities and scores."""
    for kind, run in groupby(enumerate(kinds), itemgetter(1)):
        places = [place for place, _ in run]
        start, stop = places[0], places[-1] + 1
        yield Segment(
            kind,
            Author.MODEL,
            turn,
            "".join(pieces[start:stop]),
            completion.token_ids[start:stop],
            None if completion.logprobs is None else completion.logprobs[start:stop],
            None if completion.top is None else completion.top.slice(start, stop),
        )
