"""Training data in memory: all sequences as numpy arrays, and the counts from which batches are planned."""

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
    """The training set; the same on every rank.

    Attributes:
        sequences: sequences with at least one token to train on.
        lengths: number of tokens of each sequence.
        term_counts: ``[num_sequences, S]`` sum of each loss term's weights over each sequence.
        trained_tokens: ``[num_sequences]`` number of tokens that at least one term trains on.
        num_skipped: number of episodes that ``keep`` excludes or that have no token to train on.
    """

    sequences: list[TrainingSequence]
    lengths: list[int]
    term_counts: NDArray[np.float64]
    trained_tokens: NDArray[np.int64]
    num_skipped: int


def load_data(config: LearnerConfig, trajectories: Iterable[Trajectory], max_positions: int) -> Data:
    """Convert trajectories to training data. They are read one at a time, and only arrays stay in memory.

    Args:
        max_positions: the model's maximum sequence length in tokens.

    Raises:
        UserError: there is nothing to train on, or a term needs teacher scores that a token does not have.
    """
    limit = min(config.max_sequence_tokens or max_positions, max_positions)
    weight_names = list(dict.fromkeys(term.weight_name for term in config.terms))
    sequences, read = [], 0
    for trajectory in trajectories:
        read += 1
        if not config.keeps(trajectory.identity.role, trajectory.outcome.success):
            continue
        sequence = to_sequence(trajectory, weight_names, drop=config.drop, max_tokens=limit, seed=config.seed)
        if sequence.trains:
            _check_scored(config, sequence)
            sequences.append(sequence)
    if not sequences:
        streams = ", ".join(dict.fromkeys(term.stream for term in config.terms))
        raise UserError(
            f"none of {read} trajectories has tokens to train on with keep={config.keep} and streams {streams}; "
            "collect more, or change learner.keep or learner.terms."
        )
    return Data(
        sequences=sequences,
        lengths=[len(sequence) for sequence in sequences],
        term_counts=np.array(
            [[s.weights[t.weight_name].sum(dtype=np.float64) for t in config.terms] for s in sequences]
        ),
        trained_tokens=np.array([np.any(list(s.weights.values()), axis=0).sum() for s in sequences], np.int64),
        num_skipped=read - len(sequences),
    )


def _check_scored(config: LearnerConfig, sequence: TrainingSequence) -> None:
    scored = np.zeros(len(sequence), bool)
    if sequence.teacher is not None:
        for position, size in zip(sequence.teacher.positions, sequence.teacher.sizes, strict=True):
            scored[position : position + (size if config.teacher_tokenizer else 1)] = True
    for term in config.terms:
        if term.signal == "top_k_tail" and np.any((sequence.weights[term.weight_name] > 0) & ~scored):
            raise UserError(
                f"{term.divergence} on stream {term.stream!r} needs teacher scores on each of its tokens; "
                "collect with top_logprobs above 0, or use cross_entropy there."
            )
