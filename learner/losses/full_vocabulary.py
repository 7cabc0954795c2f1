"""Divergences between whole distributions, given the teacher's logits. Dimensions as in `learner.losses.divergences`.

The gradient is computed with the value in closed form. Automatic differentiation would keep about twice as many arrays
of the size of the logits.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from learner.losses.divergences import LOG_ZERO, MIN_TAIL


def full_divergence(logits_NV: Tensor, teacher_logits_NU: Tensor, beta: float, temperature: float = 1.0) -> Tensor:
    """Return the generalized Jensen-Shannon divergence ``[N]`` in float32, multiplied by temperature squared.

    Models of one family pad their vocabularies to different sizes. The teacher's distribution is over the ids that both
    have, and the student's over its whole vocabulary. In the reverse KL, an id that the teacher lacks has probability
    `MIN_TAIL`, because 0 would make it infinite.

    Args:
        teacher_logits_NU: no gradient is computed for them.
        beta: weight of the teacher in the mixture; 0 is the forward KL and 1 the reverse KL, as in
            `learner.losses.divergences.jsd`.
    """
    vocabulary = logits_NV.shape[1]
    log_p = _log_softmax(teacher_logits_NU.detach()[:, :vocabulary], temperature)
    del teacher_logits_NU  # frees it, if the caller does not keep it
    log_p.clamp_min_(LOG_ZERO)  # -inf would make 0 log 0 NaN
    if missing := vocabulary - log_p.shape[1]:
        absent = math.log(MIN_TAIL) if beta == 1.0 else LOG_ZERO
        log_p = torch.nn.functional.pad(log_p, (0, missing), value=absent)
    divergence_N: Tensor = _Divergence.apply(logits_NV, log_p, beta, temperature)
    return divergence_N


def _log_softmax(logits_NV: Tensor, temperature: float) -> Tensor:
    return (logits_NV if temperature == 1.0 else logits_NV / temperature).log_softmax(dim=1, dtype=torch.float32)


class _Divergence(torch.autograd.Function):
    """Value and gradient with respect to the student's logits. Overwrites the teacher's log-probabilities."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, log_p: Tensor, beta: float, temperature: float) -> Tensor:
        log_q = _log_softmax(logits_NV, temperature)
        of = _forward_kl if beta == 0.0 else _reverse_kl if beta == 1.0 else partial(_jsd, beta=beta)
        value_N1, gradient_NV = of(log_p, log_q)
        ctx.gradient_NV, ctx.dtype = gradient_NV.mul_(temperature), logits_NV.dtype
        return value_N1[:, 0] * temperature**2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None, None, None]:
        gradient_NV, ctx.gradient_NV = ctx.gradient_NV, None
        assert gradient_NV is not None, "the backward pass of full_divergence can run only once"
        return gradient_NV.mul_(gradient_N[:, None]).to(ctx.dtype), None, None, None


# Each returns the value ``[N, 1]`` and d value / d z, where q = softmax(z), and overwrites its arguments.


def _forward_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    p = log_p.exp()
    value_N1 = log_p.sub_(log_q).mul_(p).sum(dim=1, keepdim=True)
    return value_N1, log_q.exp_().sub_(p)


def _reverse_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    return _through_softmax(log_p.neg_().add_(log_q), log_q.exp_())


def _jsd(log_p: Tensor, log_q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """With m = beta p + (1 - beta) q, d JSD / d q is (1 - beta) log(q / m) up to a constant."""
    scratch, log_m = log_p + math.log(beta), log_q + math.log1p(-beta)
    torch.logaddexp(scratch, log_m, out=log_m)
    p = torch.exp(log_p, out=scratch)
    to_p_N1 = log_p.sub_(log_m).mul_(p).sum(dim=1, keepdim=True)
    q = torch.exp(log_q, out=scratch)
    to_q_N1, gradient_NV = _through_softmax(log_q.sub_(log_m), q)
    return beta * to_p_N1 + (1.0 - beta) * to_q_N1, gradient_NV.mul_(1.0 - beta)


def _through_softmax(to_q: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return s = sum_v q_v g_v, and its part of the gradient q (g - s), given g = d value / d q."""
    sum_N1 = torch.linalg.vecdot(q, to_q).unsqueeze(1)
    return sum_N1, to_q.sub_(sum_N1).mul_(q)
