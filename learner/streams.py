"""A Trajectory becomes a training sequence: token ids, named weight streams and the teacher's scores.

Everything follows from the provenance that the segments carry; text is never looked at. All arrays are aligned with the
token that is predicted, so entry 0 (which nothing predicts) never trains.

Weights go by name: ``STREAM`` gives each token of a stream 1; ``STREAM/span_mean`` gives it 1 / (tokens of its span),
so that the weights add up to the number of spans. A span is the stream's tokens of one kind in one turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollout.trajectory import Author, Key, Kind, Segment, Trajectory

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TeacherScores:
    """The teacher's cut distributions at the scored tokens of a sequence.

    Attributes:
        positions: ``[M]`` indices of the scored tokens, ascending.
        sizes: ``[M]`` tokens that a row stands for: its own, and those after it in its segment without a row.
        token_ids: ``[M, k]``; a row with fewer than k entries repeats its first id.
        logprobs: ``[M, k]``; -inf where a row is filled up.
        tail_mass: ``[M]`` probability of all other tokens together.
    """

    positions: Int32
    sizes: Int32
    token_ids: Int32
    logprobs: Float32
    tail_mass: Float32


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One episode as the learner sees it.

    Attributes:
        token_ids: ``[T]``.
        weights: name to ``[T]`` weights of the tokens as targets.
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

    ``generated`` is all that the recorded model wrote, ``assistant`` that and a forced prefix, ``all`` is every token;
    otherwise the stream is a segment kind, and of ``format`` only what the model wrote, since the chat template's glue
    is nothing to learn. (``random`` goes by tokens, not by segments.)
    """
    if stream == "all":
        return True
    if stream == "generated":
        return segment.author is Author.MODEL
    if stream == "assistant":
        return segment.author in (Author.MODEL, Author.TEACHER)
    return segment.kind.value == stream and (segment.kind is not Kind.FORMAT or segment.author is Author.MODEL)


def to_sequence(
    trajectory: Trajectory,
    weightings: Iterable[str],
    *,
    drop: Collection[str] = (),
    max_tokens: int | None = None,
    seed: int = 0,
) -> TrainingSequence:
    """The view of an episode without the segment kinds in ``drop``, cut after ``max_tokens`` tokens.

    Args:
        weightings: names of the weights that are wanted.
        seed: of the ``random`` stream, together with the episode's key.
    """
    segments = [segment for segment in trajectory.segments if segment.kind.value not in drop]
    lengths = [len(segment.token_ids) for segment in segments]
    token_ids = np.fromiter((t for s in segments for t in s.token_ids), np.int32, count=sum(lengths))[:max_tokens]
    owners = np.repeat(np.arange(len(segments)), lengths)[:max_tokens]
    streams = {name: _members(name.split("/")[0], segments, owners, trajectory.key, seed) for name in weightings}
    return TrainingSequence(
        token_ids=token_ids,
        weights={
            name: _span_means(members, segments, owners) if name.endswith("/span_mean") else members.astype(np.float32)
            for name, members in streams.items()
        },
        teacher=_teacher(segments, len(token_ids)),
        reason_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.REASON),
        act_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.ACT),
    )


def _members(stream: str, segments: Sequence[Segment], owners: NDArray[np.int64], key: Key, seed: int) -> Bools:
    """``[T]`` which tokens belong to a stream; ``owners[t]`` is the segment of token t."""
    if stream == "random":
        return _random_members(segments, owners, key, seed)
    members = np.array([in_stream(segment, stream) for segment in segments], bool)[owners]
    members[:1] = False
    return members


def _random_members(segments: Sequence[Segment], owners: NDArray[np.int64], key: Key, seed: int) -> Bools:
    """The random-mask ablation: as many tokens as reason and act have together, anywhere after the prompt.

    The same in every process, as it is drawn from the episode's key and the seed alone.
    """
    wanted = sum(int(_members(stream, segments, owners, key, seed).sum()) for stream in ("reason", "act"))
    after_prompt = np.array([segment.turn >= 1 for segment in segments], bool)[owners]
    after_prompt[:1] = False
    candidates = np.flatnonzero(after_prompt)
    digest = hashlib.sha256(repr((seed, key.role, key.round, key.task, key.attempt)).encode()).digest()
    members = np.zeros(len(owners), bool)
    members[np.random.default_rng(list(digest)).choice(candidates, wanted, replace=False)] = True
    return members


def _span_means(members: Bools, segments: Sequence[Segment], owners: NDArray[np.int64]) -> Float32:
    spans: dict[tuple[int, Kind], int] = {}
    numbers = np.array([spans.setdefault((s.turn, s.kind), len(spans)) for s in segments], np.int64)[owners]
    sizes = np.bincount(numbers, weights=members, minlength=len(spans))
    return np.where(members, 1.0 / np.maximum(sizes[numbers], 1.0), 0.0).astype(np.float32)


def _teacher(segments: Sequence[Segment], num_tokens: int) -> TeacherScores | None:
    positions: list[int] = []
    sizes: list[int] = []
    ids: list[tuple[int, ...]] = []
    logprobs: list[tuple[float, ...]] = []
    tails: list[float] = []
    start = 0
    for segment in segments:
        end = min(start + len(segment.token_ids), num_tokens)
        first = len(positions)
        for offset in range(end - start if segment.teacher is not None else 0):
            assert segment.teacher is not None
            possible = [
                (token, logprob)
                for token, logprob in zip(
                    segment.teacher.token_ids[offset], segment.teacher.logprobs[offset], strict=True
                )
                if logprob > -np.inf
            ]
            if possible:
                positions.append(start + offset)
                ids.append(tuple(token for token, _ in possible))
                logprobs.append(tuple(logprob for _, logprob in possible))
                tails.append(segment.teacher.tail_mass[offset])
        sizes += np.diff([*positions[first:], end]).tolist()
        start += len(segment.token_ids)
    if not positions:
        return None
    k = max(map(len, ids))
    return TeacherScores(
        positions=np.array(positions, np.int32),
        sizes=np.array(sizes, np.int32),
        token_ids=np.array([row + (row[0],) * (k - len(row)) for row in ids], np.int32),
        logprobs=np.array([row + (-np.inf,) * (k - len(row)) for row in logprobs], np.float32),
        tail_mass=np.array(tails, np.float32),
    )
