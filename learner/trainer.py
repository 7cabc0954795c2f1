"""What the training loop needs of a training strategy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from learner.data.batching import Batch


class Trainer(Protocol):
    """Interface of a training strategy. All methods are called on all ranks."""

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> torch.Tensor:
        """Run forward and backward of one micro-batch and add its gradients.

        Args:
            coefficients: factor on each loss term; see `learner.losses.objective.term_coefficients`.
            last: whether it is the last micro-batch of the step on this rank.

        Returns:
            The contribution ``[S]`` of each loss term, without its lambda, on the trainer's device.
        """

    def update(self, fraction: float) -> tuple[float, float]:
        """Clip the gradients and run one optimizer step at ``fraction`` of the schedule.

        If the norm is not finite, which it is on all ranks then, the gradients are discarded and nothing changes.

        Returns:
            The learning rate, and the norm of the gradients before clipping.
        """

    def discard(self) -> None:
        """Drop the gradients that were accumulated."""

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the full tensors of the model one at a time; see `learner.strategies.sharding.full_weights`."""

    def state(self, *, optimizer: bool = True) -> dict[str, torch.Tensor]:
        """Return the tensors that training continues from, by name: those in use, which may be overwritten.

        A name that begins with `learner.checkpoints.tensor_files.OWN` is this rank's alone, a DTensor is this rank's
        shard, and any other tensor is the same on every rank.

        Args:
            optimizer: whether to include the optimizer's state besides the trained weights.
        """

    def restored(self) -> None:
        """Take over what was copied into the tensors of `state`."""
