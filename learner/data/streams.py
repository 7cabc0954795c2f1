"""Conversion of a Trajectory to a training sequence: token ids, named weight streams and teacher scores.

Weights depend only on the provenance of the segments, never on text. All arrays are aligned with the predicted token,
so entry 0, which has no context, never has weight.

Weights have names: ``STREAM`` is 1 at each token of the stream. ``STREAM/span_mean`` is 1 / (tokens of its span), so
that the weights add up to the number of spans. A span is the stream's tokens of one kind in one turn.

Dimensions: T tokens of the sequence, M tokens with teacher scores, k teacher entries.
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
    """The teacher's top-k distributions at the scored tokens of a sequence.

    Attributes:
        positions: ``[M]`` indices of the scored tokens, ascending.
        sizes: ``[M]`` number of tokens that a row covers: its own and the following tokens of its segment without a
            row.
        token_ids: ``[M, k]``; a row with fewer than k entries is padded with its first id.
        logprobs: ``[M, k]``; -inf at padded entries.
        tail_mass: ``[M]`` total probability of all other tokens.
    """

    positions: Int32
    sizes: Int32
    token_ids: Int32
    logprobs: Float32
    tail_mass: Float32


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One episode in the form that the learner trains on.

    Attributes:
        token_ids: ``[T]``.
        weights: weights ``[T]`` of the tokens as prediction targets, by name.
        teacher: None if the episode has no teacher scores.
        reason_tokens, act_tokens: number of tokens of these segment kinds, for the curriculum.
        truncated_tokens: number of tokens beyond the maximum length, which were removed.
        truncated_trained_tokens: number of these that would have had weight.
    """

    token_ids: Int32
    weights: dict[str, Float32]
    teacher: TeacherScores | None
    reason_tokens: int
    act_tokens: int
    truncated_tokens: int = 0
    truncated_trained_tokens: int = 0

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def trains(self) -> bool:
        """Whether at least one token has weight."""
        return any(bool(weight.any()) for weight in self.weights.values())


def in_stream(segment: Segment, stream: str) -> bool:
    """Return whether a segment's tokens belong to a stream.

    ``generated`` contains everything that the recorded model generated, ``assistant`` also a forced prefix, and ``all``
    every token of the sequence. Any other stream is a segment kind; ``format`` contains only the tokens of the model,
    its end of turn included, because the chat template's tokens are not to be learned. ``random`` is selected by token,
    not by segment. Text after an action is in ``trailing`` and ``all`` only.
    """
    if stream == "all":
        return True
    if stream == "generated":
        return segment.author is Author.MODEL and segment.kind is not Kind.TRAILING
    if stream == "assistant":
        return segment.author in (Author.MODEL, Author.TEACHER) and segment.kind is not Kind.TRAILING
    return segment.kind.value == stream and (segment.kind is not Kind.FORMAT or segment.author is Author.MODEL)


def to_sequence(
    trajectory: Trajectory,
    weight_names: Iterable[str],
    *,
    drop: Collection[str] = (),
    max_tokens: int | None = None,
    seed: int = 0,
) -> TrainingSequence:
    """Convert an episode to a training sequence.

    Text that the model generated after its action is removed, unless the stream ``trailing`` is asked for. So the end
    of turn follows the action, where the model is to learn it, and later turns do not depend on invented observations.

    Args:
        weight_names: names of the weights to compute.
        drop: segment kinds to remove.
        max_tokens: truncate the sequence after this number of tokens; None keeps all.
        seed: together with the episode's key, the seed of the ``random`` stream.
    """
    weight_names = tuple(weight_names)
    if not any(_stream(name) == Kind.TRAILING for name in weight_names):
        drop = (*drop, Kind.TRAILING)
    segments = [segment for segment in trajectory.segments if segment.kind.value not in drop]
    lengths = [len(segment.token_ids) for segment in segments]
    token_ids = np.fromiter((t for s in segments for t in s.token_ids), np.int32, count=sum(lengths))[:max_tokens]
    segment_of = np.repeat(np.arange(len(segments)), lengths)[:max_tokens]
    masks = {name: _mask(_stream(name), segments, segment_of, trajectory.key, seed) for name in weight_names}
    return TrainingSequence(
        token_ids=token_ids,
        weights={
            name: _span_means(mask, segments, segment_of) if name.endswith("/span_mean") else mask.astype(np.float32)
            for name, mask in masks.items()
        },
        teacher=_teacher(segments, len(token_ids)),
        reason_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.REASON),
        act_tokens=sum(n for s, n in zip(segments, lengths, strict=True) if s.kind is Kind.ACT),
        truncated_tokens=sum(lengths) - len(token_ids),
        truncated_trained_tokens=sum(
            n - int(kept)
            for segment, n, kept in zip(segments, lengths, np.bincount(segment_of, minlength=len(lengths)), strict=True)
            if n > kept and any(selects(segment, _stream(name)) for name in weight_names)
        ),
    )


def selects(segment: Segment, stream: str) -> bool:
    """Like `in_stream`; the stream ``random`` counts as the tokens that it selects as many as."""
    return any(in_stream(segment, name) for name in (("reason", "act") if stream == "random" else (stream,)))


def _stream(weight_name: str) -> str:
    return weight_name.split("/")[0]


def _mask(stream: str, segments: Sequence[Segment], segment_of: NDArray[np.int64], key: Key, seed: int) -> Bools:
    """Return the mask ``[T]`` of a stream; ``segment_of[t]`` is the index of the segment of token t."""
    if stream == "random":
        return _random_mask(segments, segment_of, key, seed)
    mask = np.array([in_stream(segment, stream) for segment in segments], bool)[segment_of]
    mask[:1] = False
    return mask


def _random_mask(segments: Sequence[Segment], segment_of: NDArray[np.int64], key: Key, seed: int) -> Bools:
    """Select as many tokens as reason and act have together, at random after the prompt (the random-mask ablation).

    The selection depends on the episode's key and the seed only, so every process makes the same one.
    """
    count = sum(int(_mask(stream, segments, segment_of, key, seed).sum()) for stream in ("reason", "act"))
    after_prompt = np.array([segment.turn >= 1 for segment in segments], bool)[segment_of]
    after_prompt[:1] = False
    candidates = np.flatnonzero(after_prompt)
    digest = hashlib.sha256(repr((seed, key.role, key.round, key.task, key.attempt)).encode()).digest()
    mask = np.zeros(len(segment_of), bool)
    mask[np.random.default_rng(list(digest)).choice(candidates, count, replace=False)] = True
    return mask


def _span_means(mask: Bools, segments: Sequence[Segment], segment_of: NDArray[np.int64]) -> Float32:
    spans: dict[tuple[int, Kind], int] = {}
    numbers = np.array([spans.setdefault((s.turn, s.kind), len(spans)) for s in segments], np.int64)[segment_of]
    sizes = np.bincount(numbers, weights=mask, minlength=len(spans))
    return np.where(mask, 1.0 / np.maximum(sizes[numbers], 1.0), 0.0).astype(np.float32)


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
                if logprob != -np.inf  # a NaN stays, so that its step is skipped and reported
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
