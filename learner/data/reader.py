"""Reads the steps of an epoch ahead: while one is computed, a thread reads and collates the batches of the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from learner.config import LearnerConfig
from learner.data.batching import Batch, collate
from learner.data.curriculum import EpochOrder, budget_tokens
from learner.data.plan import micro_batches, plan_steps
from learner.data.training_set import Data
from rollout.errors import UserError

WAIT_LIMIT_S = 600.0
"""Seconds within which the batches of a step must have been read."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One optimizer step of this rank.

    Attributes:
        members: sequence indices of the step, over all ranks.
        dummy_passes: number of micro-batches of all ranks that have no sequence.
        pending: micro-batches of this rank, and whether each one counts; a dummy pass does not.
    """

    members: list[int]
    dummy_passes: int
    pending: list[tuple[Future[Batch], bool]]

    def batches(self) -> Iterator[tuple[Batch, bool]]:
        """Yield the micro-batches, and whether each one counts. Raises `UserError` if reading takes too long."""
        for future, counts in self.pending:
            try:
                yield future.result(timeout=WAIT_LIMIT_S), counts
            except TimeoutError as error:
                raise UserError(
                    f"the training data was not read within {WAIT_LIMIT_S:g} s; check the disk of the output folder."
                ) from error


class StepReader:
    """Plans the epochs of a training and reads their steps.

    Args:
        rank: the rank whose micro-batches are read.
        packed: one row per micro-batch instead of one per sequence.
    """

    def __init__(self, config: LearnerConfig, data: Data, *, rank: int, world_size: int, packed: bool) -> None:
        self._config, self._data = config, data
        self._rank, self._world_size, self._packed = rank, world_size, packed
        self._names = [term.weight_name for term in config.terms]
        budget = budget_tokens(config, int(data.lengths.sum()))
        self._order = EpochOrder(config.order, data.complexities, data.lengths, budget, config.seed)

    def plan(self, epoch: int) -> list[list[int]]:
        """Return the sequence indices of each step of an epoch."""
        presented = self._order.epoch(epoch)
        return plan_steps(
            presented.order,
            self._data.trained_tokens,
            self._data.lengths,
            batch_episodes=self._config.batch_episodes,
            batch_tokens=self._config.batch_tokens,
            keep_order=presented.keep_order,
            seed=(self._config.seed, epoch),
        )

    def read(self, steps: Sequence[list[int]]) -> Iterator[PlannedStep]:
        """Yield the steps with their batches, and read one step ahead."""
        with ThreadPoolExecutor(1, "read-ahead") as pool:
            ready: PlannedStep | None = None
            for members in steps:
                following = self._submit(pool, members)
                if ready is not None:
                    yield ready
                ready = following
            if ready is not None:
                yield ready

    def _submit(self, pool: ThreadPoolExecutor, members: list[int]) -> PlannedStep:
        lengths, limit = self._data.lengths, self._config.micro_batch_tokens
        ranks = micro_batches(members, lengths, self._world_size, limit, packed=self._packed)
        shortest = [min(members, key=lengths.__getitem__)]
        return PlannedStep(
            members=members,
            dummy_passes=sum(not group for groups in ranks for group in groups),
            pending=[(pool.submit(self._batch, group or shortest), bool(group)) for group in ranks[self._rank]],
        )

    def _batch(self, members: list[int]) -> Batch:
        return collate([self._data.sequences[i] for i in members], self._names, packed=self._packed)
