"""A Trajectory becomes a training sequence: token ids, named weight streams and the teacher's scores.

Everything follows from the provenance that the segments carry; text is never looked at. All arrays are aligned with the
token that is predicted, so entry 0 (which nothing predicts) never trains.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollout.trajectory import Author, Kind, Segment, Trajectory

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TeacherScores:
    """The teacher's cut distributions at the scored tokens of a sequence.

    Attributes:
        positions: ``[M]`` indices of the scored tokens, ascending.
        token_ids: ``[M, k]``; a row with fewer than k entries repeats its first id.
        logprobs: ``[M, k]``; -inf where a row is filled up.
        tail_mass: ``[M]`` probability of all other tokens together.
    """

    positions: Int32
    token_ids: Int32
    logprobs: Float32
    tail_mass: Float32


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One episode as the learner sees it.

    Attributes:
        token_ids: ``[T]``.
        weights: stream name to ``[T]`` weights of the tokens as targets.
        teacher: None if no token was ever scored.
        reason_tokens, act_tokens: lengths that the curriculum looks at.
    """

    token_ids: Int32
    weights: dict[str, Float32]
    teacher: TeacherScores | None
    reason_tokens: int
    act_tokens: int

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def trains(self) -> bool:
        """Whether any stream has weight anywhere."""
        return any(bool(weight.any()) for weight in self.weights.values())


def in_stream(segment: Segment, stream: str) -> bool:
    """Whether a segment's tokens belong to a stream.

    ``generated`` is all that the recorded model wrote, ``all`` is every token; otherwise the stream is a segment kind,
    and of ``format`` only what the model wrote, since the chat template's glue is nothing to learn.
    """
    if stream == "all":
        return True
    if stream == "generated":
        return segment.author is Author.MODEL
    return segment.kind.value == stream and (segment.kind is not Kind.FORMAT or segment.author is Author.MODEL)


def to_sequence(
    trajectory: Trajectory,
    streams: Iterable[str],
    *,
    drop: Collection[str] = (),
    max_tokens: int | None = None,
) -> TrainingSequence:
    """The view of an episode without the segment kinds in ``drop``, cut after ``max_tokens`` tokens."""
    segments = [segment for segment in trajectory.segments if segment.kind.value not in drop]
    lengths = [len(segment.token_ids) for segment in segments]
    token_ids = np.fromiter((t for s in segments for t in s.token_ids), np.int32, count=sum(lengths))[:max_tokens]
    weights = {stream: _weights(segments, lengths, stream)[:max_tokens] for stream in streams}
    return TrainingSequence(
        token_ids=token_ids,
        weights=weights,
        teacher=_teacher(segments, len(token_ids)),
        reason_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.REASON),
        act_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.ACT),
    )


def _weights(segments: list[Segment], lengths: list[int], stream: str) -> Float32:
    flags = np.array([in_stream(segment, stream) for segment in segments], dtype=np.float32)
    weights = np.repeat(flags, lengths)
    weights[:1] = 0.0
    return weights


def _teacher(segments: list[Segment], num_tokens: int) -> TeacherScores | None:
    positions: list[int] = []
    ids: list[tuple[int, ...]] = []
    logprobs: list[tuple[float, ...]] = []
    tails: list[float] = []
    start = 0
    for segment in segments:
        for offset in range(len(segment.teacher) if segment.teacher is not None else 0):
            assert segment.teacher is not None
            possible = [
                (token, logprob)
                for token, logprob in zip(
                    segment.teacher.token_ids[offset], segment.teacher.logprobs[offset], strict=True
                )
                if logprob > -np.inf
            ]
            if possible and start + offset < num_tokens:
                positions.append(start + offset)
                ids.append(tuple(token for token, _ in possible))
                logprobs.append(tuple(logprob for _, logprob in possible))
                tails.append(segment.teacher.tail_mass[offset])
        start += len(segment.token_ids)
    if not positions:
        return None
    k = max(map(len, ids))
    return TeacherScores(
        positions=np.array(positions, np.int32),
        token_ids=np.array([row + (row[0],) * (k - len(row)) for row in ids], np.int32),
        logprobs=np.array([row + (-np.inf,) * (k - len(row)) for row in logprobs], np.float32),
        tail_mass=np.array(tails, np.float32),
    )
