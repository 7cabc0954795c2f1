"""Training data in memory: numpy arrays of all sequences, with the counts that batches are planned from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.config import LearnerConfig
from learner.streams import TrainingSequence, to_sequence
from rollout.errors import UserError
from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Data:
    """What there is to train on, the same on every rank.

    Attributes:
        sequences: those with something to learn.
        lengths: tokens of each.
        term_counts: ``[num_sequences, S]`` sum of a term's stream weights.
        trained: ``[num_sequences]`` tokens that some term trains on.
        left_out: episodes without success (if these are not kept) or without a token to learn.
    """

    sequences: list[TrainingSequence]
    lengths: list[int]
    term_counts: NDArray[np.float64]
    trained: NDArray[np.int64]
    left_out: int


def load_data(config: LearnerConfig, trajectories: Iterable[Trajectory], max_positions: int) -> Data:
    """Read trajectories one at a time; of each, only arrays stay in memory.

    Raises:
        UserError: nothing is left to train on, or a forward_kl term meets a token that the teacher never scored.
    """
    limit = min(config.max_sequence_tokens or max_positions, max_positions)
    streams = list(dict.fromkeys(term.stream for term in config.terms))
    scored_streams = list(dict.fromkeys(term.stream for term in config.terms if term.divergence == "forward_kl"))
    sequences, read = [], 0
    for trajectory in trajectories:
        read += 1
        if config.keep == "success" and not trajectory.outcome.success:
            continue
        sequence = to_sequence(trajectory, streams, drop=config.drop, max_tokens=limit)
        if sequence.trains:
            _check_scored(sequence, scored_streams)
            sequences.append(sequence)
    if not sequences:
        raise UserError(
            f"none of {read} trajectories can be trained on with keep={config.keep} and streams {', '.join(streams)}; "
            "collect more, or change learner.keep or learner.terms."
        )
    return Data(
        sequences=sequences,
        lengths=[len(sequence) for sequence in sequences],
        term_counts=np.array([[s.weights[t.stream].sum() for t in config.terms] for s in sequences], np.float64),
        trained=np.array([np.any(list(s.weights.values()), axis=0).sum() for s in sequences], np.int64),
        left_out=read - len(sequences),
    )


def _check_scored(sequence: TrainingSequence, streams: Iterable[str]) -> None:
    scored = np.zeros(len(sequence), bool)
    if sequence.teacher is not None:
        scored[sequence.teacher.positions] = True
    for stream in streams:
        if np.any((sequence.weights[stream] > 0) & ~scored):
            raise UserError(
                f"forward_kl on stream {stream!r} needs the teacher's scores on each of its tokens; collect with "
                "top_logprobs above 0, or use cross_entropy there."
            )
