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
        term_counts: ``[num_sequences, S]`` sum of a term's weights.
        trained: ``[num_sequences]`` tokens that some term trains on.
        left_out: episodes without success (if these are not kept) or without a token to learn.
    """

    sequences: list[TrainingSequence]
    lengths: list[int]
    term_counts: NDArray[np.float64]
    trained: NDArray[np.int64]
    num_skipped: int


def load_data(config: LearnerConfig, trajectories: Iterable[Trajectory], max_positions: int) -> Data:
    """Read trajectories one at a time; of each, only arrays stay in memory.

    Raises:
        UserError: nothing is left to train on, or a term needs the teacher's scores of a token that was never scored.
    """
    limit = min(config.max_sequence_tokens or max_positions, max_positions)
    weightings = list(dict.fromkeys(term.weighting for term in config.terms))
    sequences, read = [], 0
    for trajectory in trajectories:
        read += 1
        if not config.keeps(trajectory.identity.role, trajectory.outcome.success):
            continue
        sequence = to_sequence(trajectory, weightings, drop=config.drop, max_tokens=limit, seed=config.seed)
        if sequence.trains:
            _check_scored(config, sequence)
            sequences.append(sequence)
    if not sequences:
        streams = ", ".join(dict.fromkeys(term.stream for term in config.terms))
        raise UserError(
            f"none of {read} trajectories can be trained on with keep={config.keep} and streams {streams}; "
            "collect more, or change learner.keep or learner.terms."
        )
    return Data(
        sequences=sequences,
        lengths=[len(sequence) for sequence in sequences],
        term_counts=np.array([[s.weights[t.weighting].sum(dtype=np.float64) for t in config.terms] for s in sequences]),
        trained=np.array([np.any(list(s.weights.values()), axis=0).sum() for s in sequences], np.int64),
        num_skipped=read - len(sequences),
    )


def _check_scored(config: LearnerConfig, sequence: TrainingSequence) -> None:
    scored = np.zeros(len(sequence), bool)
    if sequence.teacher is not None:
        for position, size in zip(sequence.teacher.positions, sequence.teacher.sizes, strict=True):
            scored[position : position + (size if config.teacher_tokenizer else 1)] = True
    for term in config.terms:
        if term.signal == "top_k_tail" and np.any((sequence.weights[term.weighting] > 0) & ~scored):
            raise UserError(
                f"{term.divergence} on stream {term.stream!r} needs the teacher's scores on each of its tokens; "
                "collect with top_logprobs above 0, or use cross_entropy there."
            )
