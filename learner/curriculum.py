"""Curriculum: the order in which an epoch presents the sequences. It never changes the weights of the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learner.config import ComplexityOrder, ShuffledOrder
from learner.streams import TeacherScores, TrainingSequence
from rollout.errors import UserError


def mean_entropy(teacher: TeacherScores) -> float:
    """Return the mean over scored tokens of -sum_i p_i log p_i, in nats. The tail counts as one outcome.

    Rows are normalized first, because the row of a group of several tokens adds up to less than 1.
    """
    masses = np.column_stack([np.exp(teacher.logprobs.astype(np.float64)), teacher.tail_mass.astype(np.float64)])
    p = masses / masses.sum(axis=1, keepdims=True)
    return float(np.mean(-(p * np.log(np.where(p > 0.0, p, 1.0))).sum(axis=1)))


def complexity(sequence: TrainingSequence, order: ComplexityOrder) -> float:
    """Return C = alpha * reason tokens + beta * act tokens + gamma * teacher entropy (arXiv 2505.13820).

    Raises:
        UserError: gamma is not 0 and the sequence has no teacher scores.
    """
    value = order.alpha * sequence.reason_tokens + order.beta * sequence.act_tokens
    if order.gamma == 0.0:
        return value
    if sequence.teacher is None:
        raise UserError("order.gamma needs teacher scores; collect with top_logprobs above 0, or set gamma to 0.")
    return value + order.gamma * mean_entropy(sequence.teacher)


class EpochOrder:
    """Selects and orders the sequences of each epoch. The result is the same on every rank."""

    def __init__(
        self, order: ShuffledOrder | ComplexityOrder, sequences: Sequence[TrainingSequence], seed: int
    ) -> None:
        self._order = order
        self._seed = seed
        self._count = len(sequences)
        self._easy_to_hard: list[int] = []
        if isinstance(order, ComplexityOrder):
            values = [complexity(sequence, order) for sequence in sequences]
            self._easy_to_hard = sorted(range(self._count), key=values.__getitem__)

    @property
    def fixed(self) -> bool:
        """Whether batches must keep the order of the sequences instead of grouping them by length."""
        return isinstance(self._order, ComplexityOrder) and self._order.pace_fraction == 0.0

    def epoch(self, epoch: int, fraction: float) -> list[int]:
        """Return the sequence indices of an epoch that starts when ``fraction`` of the training budget is used."""
        if self.fixed:
            return self._easy_to_hard
        indices = list(range(self._count))
        if isinstance(self._order, ComplexityOrder):
            start, pace = self._order.pace_start, self._order.pace_fraction
            share = min(1.0, start + (1.0 - start) * fraction / pace)
            indices = self._easy_to_hard[: max(1, round(share * self._count))]
        return [int(i) for i in np.random.default_rng((self._seed, epoch)).permutation(indices)]
