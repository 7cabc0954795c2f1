"""Builds prompts and training data from the same segments.

Demonstrations given as text take the same path as completions of an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from sys import maxsize

from rollout.engine import Completion
from rollout.environment import Reset
from rollout.errors import UserError
from rollout.grammar import Choice, Grammar
from rollout.prompts.channels import kinds_before_answer
from rollout.prompts.labels import is_think_tag
from rollout.prompts.style import Style
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import Author, Kind, Segment, TopK


@dataclass(frozen=True, slots=True)
class Turn:
    """A parsed completion.

    Attributes:
        segments: exactly the completion's tokens, followed by an end of turn if they do not end with one.
        action: the action for the environment, stripped; None if the completion contains none.
    """

    segments: tuple[Segment, ...]
    action: str | None


class PromptBuilder:
    """Builds the token sequence of an episode for one model. Stateless: one builder serves concurrent episodes.

    An episode is ``start``, then for each turn ``open_turn``, the engine's completion, ``turn``, ``observation``.
    """

    def __init__(self, tokenizer: Tokenizer, style: Style) -> None:
        template = ChatTemplate.from_tokenizer(tokenizer)
        self.tokenizer = tokenizer.with_template_markers(template.text)
        self.style = style
        self.template_digest = template.digest
        self._template = template
        self.end_of_turn_id = self.tokenizer.encode_markers(template.end_of_turn)[0]
        self._before_system = self._encode_template(template.before_system)
        self._instructions = self._content(Kind.SYSTEM, Author.PROMPT, 0, style.instructions)
        self._system_to_user = self._encode_template(template.system_to_user)
        self._examples = [self._content(Kind.EXAMPLE, Author.PROMPT, 0, style.example(e)) for e in style.examples]
        self._generation_prompt = self._encode_template(template.generation_prompt)
        self._answer_prefix = self._encode_template(template.answer_prefix)
        self._end_of_turn = self._encode_template(template.end_of_turn)
        self._end_ids = {self.end_of_turn_id, *self.tokenizer.encode_markers(self.tokenizer.end)}
        self._next_user = self._encode_template(template.next_user)

    def start(self, reset: Reset, *, hints: Sequence[str] = ()) -> list[Segment]:
        """System message and first user message. ``hints`` are shown before the task, to a teacher only."""
        return [
            *_template(0, self._before_system),
            *self._instructions,
            *_template(0, self._system_to_user),
            *(segment for example in self._examples for segment in example),
            *self.hints(hints),
            *self._content(Kind.OBSERVATION, Author.ENVIRONMENT, 0, reset.observation),
            *self._content(Kind.TASK, Author.PROMPT, 0, self.style.task(reset.instruction)),
        ]

    def hints(self, hints: Sequence[str]) -> list[Segment]:
        """Segments of the hints that are shown before the task."""
        return [s for hint in hints for s in self._content(Kind.HINT, Author.PROMPT, 0, self.style.hint(hint))]

    def open_turn(self, turn: int, first_thought: str = "") -> list[Segment]:
        """Generation prompt of turn ``turn`` (from 1), followed by the start of a thought that the model continues.

        The start of a thought is part of the answer, so the template's own thought is left empty.
        """
        prefix = self._content(Kind.PREFIX, Author.TEACHER, turn, self._prefix(first_thought))
        prompt = _template(turn, self._generation_prompt)
        return [*prompt, *_template(turn, self._answer_prefix), *prefix] if prefix else prompt

    def turn(self, completion: Completion, turn: int, first_thought: str = "") -> Turn:
        """Split a completion into reason, act, format and trailing segments; see `Style.parse`.

        A token that crosses a boundary belongs to the segment of its first character. Leading special tokens are
        format. From the next special token on, nothing is parsed: the first end token is format, all other tokens are
        trailing. Think tags are text. What the turn was opened with, a first thought or a think tag in the generation
        prompt, is parsed together with the completion; the result does not contain it.

        If the last token is not the end of turn, it is appended. Its author is the model if the completion finished
        with ``stop`` and has no end token: the engine returned only text, or a stop string ended the turn. In both
        cases the model is to end its turn there, and so the end is trained like one that was generated: the stream
        ``format`` contains it. If the engine returned distributions, it gets one that is certain of it. After
        ``length``, or after another end token, the end of turn is the template's and is not trained.

        The end follows trailing text if there is any, as the engine saw it. The learner leaves trailing text out, so
        that it trains the end directly after the action; see `learner.data.streams.to_sequence`.
        """
        ids = completion.token_ids
        stopped = completion.finish_reason == "stop"
        pieces = self.tokenizer.pieces(ids)
        kinds, action = self._kinds(ids, pieces, first_thought, stopped)
        segments = list(_split(completion, pieces, kinds, turn))
        if not ids or ids[-1] != self.end_of_turn_id:
            segments += _template(turn, self._end_of_turn)
            if stopped and not (ids and self._is_marker(ids[-1], pieces[-1])):
                certain = TopK(((self.end_of_turn_id,),), ((0.0,),), (0.0,)) if completion.top else None
                segments[-1] = replace(segments[-1], author=Author.MODEL, teacher=certain)
        return Turn(tuple(segments), action)

    def observation(self, text: str, turn: int) -> list[Segment]:
        """User message with the observation after turn ``turn``."""
        return _template(turn, self._next_user) + self._content(Kind.OBSERVATION, Author.ENVIRONMENT, turn, text)

    def completion_of(self, text: str) -> Completion:
        """An answer as the completion that an engine would return: its tokens and the end of turn.

        The answer has no thought of the template's, so it follows the template's ``answer_prefix``.
        """
        token_ids = (*self._answer_prefix[1], *self.tokenizer.encode(text), self.end_of_turn_id)
        return Completion(token_ids, None, self.tokenizer.decode(token_ids), "stop")

    def transcript(
        self, reset: Reset, turns: Iterable[tuple[str, str | None]], *, hints: Sequence[str] = ()
    ) -> list[Segment]:
        """All segments of an episode given as text. ``turns`` are pairs (assistant text, next observation or None)."""
        segments = self.start(reset, hints=hints)
        for number, (assistant, observation) in enumerate(turns, start=1):
            segments += self.open_turn(number)
            segments += self.turn(self.completion_of(assistant), number).segments
            if observation is not None:
                segments += self.observation(observation, number)
        return segments

    def _prefix(self, first_thought: str) -> str:
        return self.style.turn_prefix(first_thought) if first_thought else ""

    def turn_grammar(self, action: Choice, first_thought: str = "") -> Grammar:
        """Grammar of the turns whose action is one of ``action``, without what the turn was opened with.

        Raises:
            UserError: a turn of this style does not consist of one action, or one of this template has channels.
        """
        grammar = self.style.turn_grammar(action)
        if first_thought:
            return Grammar(grammar.parts[1:])
        if self._template.has_channels:
            raise UserError(
                "turns of this chat template have channels, which a grammar lacks; set agent.acting to plain"
            )
        return Grammar((self._answer_prefix[0], *grammar.parts)) if self._answer_prefix[0] else grammar

    def _kinds(
        self, ids: Sequence[int], pieces: Sequence[str], first_thought: str, stopped: bool
    ) -> tuple[list[Kind], str | None]:
        """Kind of each token, and the action. The text that the turn was opened with is parsed with it."""
        template = self._template
        before = self._prefix(first_thought) if first_thought else template.thought
        special = [self._is_marker(token, piece) for token, piece in zip(ids, pieces, strict=True)]
        if template.has_channels and not first_thought:
            kinds, before = kinds_before_answer(pieces, special, thinking=bool(template.thought)), ""
        else:
            kinds = [Kind.FORMAT] * (special.index(False) if False in special else len(ids))
        begin = len(kinds)
        end = special.index(True, begin) if True in special[begin:] else len(ids)
        parsed = self.style.parse(before + "".join(pieces[begin:end]))
        kinds += list(_kind_of_each([before, *pieces[begin:end]], parsed.spans))[1:]
        return kinds + self._kinds_after(ids[end:], stopped), parsed.action

    def _is_marker(self, token: int, piece: str) -> bool:
        """Whether a token is special and no think tag, which some models write with special tokens."""
        return token in self.tokenizer.special_ids and not is_think_tag(piece)

    def _kinds_after(self, ids: Sequence[int], stopped: bool) -> list[Kind]:
        """Kinds of the tokens from the first special token on: one run of end tokens is format.

        If the model stopped with another special token, that one is its end.
        """
        ends = [token in self._end_ids for token in ids]
        if ids and True not in ends:
            ends[-1] = stopped and ids[-1] in self.tokenizer.special_ids
        first = ends.index(True) if True in ends else len(ends)
        last = ends.index(False, first) if False in ends[first:] else len(ends)
        return [Kind.FORMAT if first <= at < last else Kind.TRAILING for at in range(len(ids))]

    def _content(self, kind: Kind, author: Author, turn: int, text: str) -> list[Segment]:
        ids = self.tokenizer.encode(text)
        return [Segment(kind, author, turn, self.tokenizer.decode(ids), ids)] if ids else []

    def _encode_template(self, text: str) -> tuple[str, tuple[int, ...]]:
        ids = self.tokenizer.encode_markers(text)
        return self.tokenizer.decode(ids), ids


def _template(turn: int, part: tuple[str, tuple[int, ...]]) -> list[Segment]:
    text, ids = part
    return [Segment(Kind.FORMAT, Author.TEMPLATE, turn, text, ids)] if ids else []


def _kind_of_each(pieces: Sequence[str], spans: Sequence[tuple[Kind, int]]) -> Iterator[Kind]:
    """Kind of the span in which each piece begins; an empty piece has the kind of the piece before it."""
    kind, position, remaining = Kind.FORMAT, 0, iter((*spans, (Kind.FORMAT, maxsize)))
    span_kind, span_end = next(remaining)
    for piece in pieces:
        while position >= span_end:
            span_kind, span_end = next(remaining)
        kind = span_kind if piece else kind
        yield kind
        position += len(piece)


def _split(completion: Completion, pieces: Sequence[str], kinds: Sequence[Kind], turn: int) -> Iterator[Segment]:
    """One segment for each run of tokens of one kind, with its slice of log-probabilities and scores."""
    for kind, run in groupby(enumerate(kinds), itemgetter(1)):
        positions = [position for position, _ in run]
        start, stop = positions[0], positions[-1] + 1
        yield Segment(
            kind,
            Author.MODEL,
            turn,
            "".join(pieces[start:stop]),
            completion.token_ids[start:stop],
            None if completion.logprobs is None else completion.logprobs[start:stop],
            None if completion.top is None else completion.top.slice(start, stop),
        )
