"""Curriculum: the order in which an epoch presents the sequences. It never changes the weights of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.config import ComplexityOrder, LearnerConfig, ShuffledOrder
from learner.data.streams import TeacherScores, TrainingSequence
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


@dataclass(frozen=True, slots=True)
class Epoch:
    """The sequence indices of one epoch, and whether steps must follow their order."""

    order: Sequence[int]
    keep_order: bool


class EpochOrder:
    """Selects and orders the sequences of each epoch. The result is the same on every rank and after a resume.

    A curriculum is followed by whole shuffled epochs: as many as fit into the budget after ``pace_fraction`` of it,
    rounded, but at least one. The curriculum lasts until they begin. So no episode is missed when the budget ends,
    however long it is. A budget of exactly one epoch presents every sequence once, in an order that follows the
    curriculum. With less than one epoch, the curriculum ends at ``pace_fraction``.

    Args:
        order: how to order.
        complexities: ``[num_sequences]`` of `complexity`; not used if ``order`` is shuffled.
        lengths: ``[num_sequences]`` numbers of tokens.
        budget_tokens: tokens that the whole training processes; `budget_tokens`.
        seed: seed of all shuffles.
    """

    def __init__(
        self,
        order: ShuffledOrder | ComplexityOrder,
        complexities: NDArray[np.float64],
        lengths: NDArray[np.int64],
        budget_tokens: float,
        seed: int,
    ) -> None:
        self._seed = seed
        self._lengths = lengths
        self._sorts = isinstance(order, ComplexityOrder) and order.pace_fraction == 0.0
        self._budget_tokens = budget_tokens
        self._easy_to_hard = np.argsort(complexities, kind="stable")
        self._paced: list[list[int]] = []
        if isinstance(order, ComplexityOrder) and not self._sorts:
            self._paced = self._pace(order, _pace_tokens(order.pace_fraction, budget_tokens, int(lengths.sum())))

    @property
    def num_paced(self) -> int:
        """Number of epochs, the last perhaps shorter, that the curriculum takes up."""
        return len(self._paced)

    def epoch(self, epoch: int) -> Epoch:
        """Return the sequences of an epoch; the curriculum takes up the first ones."""
        if epoch < len(self._paced):
            return Epoch(self._paced[epoch], keep_order=True)
        shuffled = self._shuffle(np.arange(len(self._lengths)), epoch)
        if not self._sorts:
            return Epoch(shuffled.tolist(), keep_order=False)
        # The epoch that the budget cuts takes a random part of the data, so that the longest episodes are not missed.
        left = self._budget_tokens - epoch * int(self._lengths.sum())
        chosen = np.isin(self._easy_to_hard, _first(shuffled, self._lengths, left))
        return Epoch(self._easy_to_hard[chosen].tolist(), keep_order=True)

    def _pace(self, order: ComplexityOrder, tokens: float) -> list[list[int]]:
        """Shuffled rounds over the easiest sequences, whose fraction grows, in epochs of the tokens of all data."""
        rounds: list[NDArray[np.int64]] = []
        used = 0
        while used < tokens:
            share = order.pace_start + (1.0 - order.pace_start) * used / tokens
            easy = self._easy_to_hard[: max(1, round(share * len(self._lengths)))]
            rounds.append(_first(self._shuffle(easy, len(rounds), 1), self._lengths, tokens - used))
            used += int(self._lengths[rounds[-1]].sum())
        if not rounds:
            return [self._paced_once(order)]
        paced = np.concatenate(rounds)
        starts = np.cumsum(self._lengths[paced]) - self._lengths[paced]
        epochs = starts // int(self._lengths.sum())
        return [paced[epochs == number].tolist() for number in range(int(epochs[-1]) + 1)]

    def _paced_once(self, order: ComplexityOrder) -> list[int]:
        """Each sequence once, drawn from those of the easiest fraction that are left, while the fraction grows."""
        count, random = len(self._easy_to_hard), np.random.default_rng(self._seed)
        pool: list[int] = []
        paced: list[int] = []
        for place in range(count):
            share = order.pace_start + (1.0 - order.pace_start) * place / (count * order.pace_fraction)
            end = min(count, max(place + 1, round(share * count)))
            pool += self._easy_to_hard[place + len(pool) : end].tolist()
            drawn = int(random.integers(len(pool)))
            pool[drawn], pool[-1] = pool[-1], pool[drawn]
            paced.append(pool.pop())
        return paced

    def _shuffle(self, indices: NDArray[np.int64], *seeds: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, *seeds)).permutation(indices)


def budget_tokens(config: LearnerConfig, data_tokens: int) -> float:
    """Tokens that a whole training processes by ``epochs`` and ``max_tokens``; infinite if neither is set."""
    epochs = config.epochs * data_tokens if config.epochs else math.inf
    return min(epochs, config.max_tokens or math.inf)


def _pace_tokens(pace_fraction: float, budget: float, data_tokens: int) -> float:
    """Tokens of the curriculum: what whole epochs leave of the budget."""
    if budget < data_tokens:
        return pace_fraction * budget
    epochs = budget / data_tokens
    return budget - data_tokens * max(1, min(math.floor(epochs), round((1.0 - pace_fraction) * epochs)))


def _first(indices: NDArray[np.int64], lengths: NDArray[np.int64], tokens: float) -> NDArray[np.int64]:
    """The first sequences with at least ``tokens`` tokens together; all if they have fewer."""
    return indices[: int(np.searchsorted(np.cumsum(lengths[indices]), tokens)) + 1]
