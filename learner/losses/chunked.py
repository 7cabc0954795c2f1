"""The loss of a model on a micro-batch, with constant memory for its logits.

The loss is linear in the weights of the tokens, so the gradient of each token's part is final as soon as its logits are
known. The forward pass therefore computes logits, loss and gradients chunk by chunk and keeps the gradients only: those
of the hidden states ``[N, H]`` and, in float32, of the head's parameters. The backward pass multiplies them by the
gradient of the loss. No array over the vocabulary has more rows than a chunk, except the gradient of the head's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from learner.data.batching import Batch
from learner.distributed import to_device
from learner.head import Head, selected_states
from learner.losses.chunks import chunk_rows, chunks
from learner.losses.objective import objective
from learner.teacher import FrozenTeacher
from learner.terms import Term


class ChunkedLoss(nn.Module):
    """Wraps a causal language model so that its forward is the training objective.

    A strategy wraps this module, so hooks that gather sharded weights or reduce gradients run around all of it.
    """

    def __init__(
        self,
        model: nn.Module,
        terms: Sequence[Term],
        teacher: FrozenTeacher | None = None,
        max_chunk_rows: int | None = None,
    ) -> None:
        """Create the module.

        Args:
            teacher: needed for terms with the signal ``exact``; its parameters are not those of this module.
            max_chunk_rows: maximum number of tokens per chunk; None is `learner.losses.chunks.chunk_rows`.
        """
        super().__init__()
        self.model: Any = model
        self._terms = terms
        self._teacher = teacher
        self._max_chunk_rows = max_chunk_rows

    def forward(
        self, inputs: Mapping[str, Tensor], batch: Batch, coefficients: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the contribution ``[S]`` of each term, see `learner.losses.objective.objective`.

        All trained parameters get a gradient, also if no token has weight. ``backward`` can be called once.

        Args:
            inputs: keyword arguments of the model's forward for the rows of ``batch``.
        """
        device = inputs["input_ids"].device
        max_rows = self._max_chunk_rows or chunk_rows(self.model.config.vocab_size, device.type)
        parts = chunks(batch, self._terms, coefficients, max_rows)
        positions_N = to_device(np.concatenate([part.positions for part in parts]), device)
        teacher = self._teacher.read(inputs, positions_N) if self._teacher else None
        states_NH, output = selected_states(self.model, inputs, positions_N)

        def loss_of(part: Batch, rows: slice, logits_RV: Tensor) -> tuple[Tensor, Tensor]:
            teacher_logits = partial(teacher, rows) if teacher else None
            with torch.autocast(device.type, enabled=False):
                return objective(logits_RV, part, self._terms, coefficients, teacher_logits)

        head = Head(self.model, output)
        loss, values = _Chunks.apply(states_NH, head, parts, loss_of, *head.parameters)
        return loss, values


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_NH: Tensor,
        head: Head,
        parts: Sequence[Batch],
        loss_of: Callable[[Batch, slice, Tensor], tuple[Tensor, Tensor]],
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gradient_NH = torch.empty_like(states_NH)
        sums: list[tuple[Tensor, Tensor]] = []
        end = 0
        for part in parts:
            rows = slice(end, end := end + len(part.positions))
            gradient_NH[rows], *one = _one_chunk(head, states_NH[rows], partial(loss_of, part, rows))
            sums.append((one[0], one[1]))
        ctx.gradients = [gradient_NH, *head.gradients()]
        ctx.dtypes = [tensor.dtype for tensor in (states_NH, *parameters)]
        loss, values = (torch.stack(column).sum(dim=0) for column in zip(*sums, strict=True))
        ctx.mark_non_differentiable(values)
        return loss, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _values: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the backward pass of ChunkedLoss can run only once"
        if gradient.device.type != "cpu" or gradient != 1.0:  # reading it on a GPU would wait for the GPU
            gradients = [part if part is None else part.mul_(gradient) for part in gradients]
        of_states, *of_parameters = [
            part if part is None else part.to(dtype) for part, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return of_states, None, None, None, *of_parameters


def _one_chunk(
    head: Head, states_RH: Tensor, loss_of: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of the hidden states, the loss and the values of the terms. The logits die here."""
    with torch.enable_grad():
        leaf_RH = states_RH.detach().requires_grad_()
        loss, values = loss_of(head(leaf_RH))
    return head.backward(loss, leaf_RH), loss.detach(), values
