"""Divergences between teacher and student, one value per predicted token. Pure functions of tensors.

Dimensions: N predicted tokens, V vocabulary, k teacher entries. p is the teacher, q the student. All values are in
nats.

Forward KL, reverse KL and Jensen-Shannon are computed over buckets: the teacher's k entries, and one tail bucket with
the probability of all other tokens. Merging tokens never increases these divergences. So at temperature 1 each value is
a lower bound of the one over the vocabulary; they are equal if the tails have the same shape. At any temperature they
are equal if the entries are the whole vocabulary.

With a temperature, the buckets of both sides are raised to the power 1/temperature and renormalized. The result is
multiplied by temperature squared, which keeps the scale of the gradients (arXiv 1503.02531, section 2).

The student's tail is a logsumexp over the other tokens' logits, because 1 - sum_i q_i would lose all precision for
small tails. Entries with log-probability -inf are padding and must repeat another id of the row.

Common arguments: ``logits_NV`` of the student; the teacher's ``teacher_ids_Nk`` (int64), ``teacher_logprobs_Nk`` and
``teacher_tail_N`` (the probability of all other tokens).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG_ZERO = -1e30
"""Used for log 0 where -inf would make gradients NaN; its exp is exactly 0."""
MIN_TAIL = 2.0**-24
"""Half the float32 spacing below 1: a smaller tail, computed as 1 - sum_i p_i, is indistinguishable from 0."""


def cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """CE_n = -log q(label_n) = logsumexp_v z_nv - z_n,label. Returns ``[N]`` in float32.

    The backward pass reuses memory of the forward pass, so it can run only once.
    """
    value_N: Tensor = _CrossEntropy.apply(logits_NV.float(), labels_N[:, None])
    return value_N


class _CrossEntropy(torch.autograd.Function):
    """As `torch.nn.functional.cross_entropy`, which has two arrays of the size of the logits more."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, labels_N1: Tensor) -> Tensor:
        ctx.log_q_NV = logits_NV.log_softmax(dim=1)
        ctx.save_for_backward(labels_N1)
        value_N: Tensor = -ctx.log_q_NV.gather(1, labels_N1)[:, 0]
        return value_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None]:
        (labels_N1,) = ctx.saved_tensors
        log_q_NV, ctx.log_q_NV = ctx.log_q_NV, None
        assert log_q_NV is not None, "the backward pass of cross_entropy can run only once"
        gradient_N1 = gradient_N[:, None]
        return log_q_NV.exp_().mul_(gradient_N1).scatter_add_(1, labels_N1, -gradient_N1), None


def forward_kl(
    logits_NV: Tensor,
    teacher_ids_Nk: Tensor,
    teacher_logprobs_Nk: Tensor,
    teacher_tail_N: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """KL_n = sum_i p_i (log p_i - log q_i), i over the buckets. Returns ``[N]`` in float32.

    This is the masked KL of Structured Agent Distillation (arXiv 2505.13820, section 3) with the teacher truncated to
    its top k. A teacher tail of 0 contributes 0.
    """
    log_p, log_q = _bucket_logprobs(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    return _kl(log_p, log_q) * temperature**2


def reverse_kl(
    logits_NV: Tensor,
    teacher_ids_Nk: Tensor,
    teacher_logprobs_Nk: Tensor,
    teacher_tail_N: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """KL_n = sum_i q_i (log q_i - log p_i), i over the buckets (MiniLLM, arXiv 2306.08543).

    Returns ``[N]`` in float32. A recorded tail of 0 only means that the tail was too small to be represented, and it
    would make the divergence infinite. So a tail is at least `MIN_TAIL`, and student probability in the tail costs up
    to 16.6 nats per unit. If the entries are the whole vocabulary, there is no tail and nothing is added.
    """
    tail = teacher_tail_N.clamp_min(MIN_TAIL)
    log_p, log_q = _bucket_logprobs(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, tail, temperature)
    return _kl(log_q, log_p) * temperature**2


def jsd(
    logits_NV: Tensor,
    teacher_ids_Nk: Tensor,
    teacher_logprobs_Nk: Tensor,
    teacher_tail_N: Tensor,
    temperature: float = 1.0,
    beta: float = 0.5,
) -> Tensor:
    """JSD_n = beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q. Returns ``[N]`` in float32.

    This is the generalized Jensen-Shannon divergence of on-policy distillation (arXiv 2306.13649, equation 1). It tends
    to 0 as beta tends to 0 or 1, so beta 0 is defined as the forward KL and beta 1 as the reverse KL, as in TRL's
    ``generalized_jsd_loss`` (which does not multiply by temperature squared).
    """
    if beta in (0.0, 1.0):
        end = reverse_kl if beta else forward_kl
        return end(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    log_p, log_q = _bucket_logprobs(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return (beta * _kl(log_p, log_m) + (1.0 - beta) * _kl(log_q, log_m)) * temperature**2


def student_buckets(logits_NV: Tensor, teacher_ids_Nk: Tensor, teacher_logprobs_Nk: Tensor) -> Tensor:
    """Return ``[N, k + 1]``: log q at the teacher's entries, then of the tail. Padded entries are ``LOG_ZERO``.

    The backward pass reuses memory of the forward pass, so it can run only once.
    """
    top, tail = _TopAndTail.apply(logits_NV.float(), teacher_ids_Nk)
    buckets = torch.cat([top.masked_fill(torch.isneginf(teacher_logprobs_Nk), LOG_ZERO), tail], dim=1)
    return buckets - buckets.logsumexp(dim=1, keepdim=True)


class _TopAndTail(torch.autograd.Function):
    """The logits at some ids, and the logsumexp of the others, with one temporary array of the size of the logits."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_Nk: Tensor) -> tuple[Tensor, Tensor]:
        others_NV = logits_NV.scatter(1, ids_Nk, LOG_ZERO)
        highest_N1 = others_NV.amax(dim=1, keepdim=True).clamp_min(LOG_ZERO)
        others_NV.sub_(highest_N1).exp_()
        if others_NV.shape[1] <= ids_Nk.shape[1]:  # without a tail, exp(LOG_ZERO - LOG_ZERO) would count
            others_NV.masked_fill_(highest_N1 <= LOG_ZERO / 2, 0.0)
        sum_N1 = others_NV.sum(dim=1, keepdim=True)
        tail_N1 = torch.where(sum_N1 > 0, highest_N1 + sum_N1.log(), LOG_ZERO)
        ctx.others_NV = others_NV.div_(sum_N1.clamp_min(torch.finfo(torch.float32).tiny))
        ctx.save_for_backward(ids_Nk)
        return logits_NV.gather(1, ids_Nk), tail_N1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, top_Nk: Tensor, tail_N1: Tensor) -> tuple[Tensor, None]:
        (ids_Nk,) = ctx.saved_tensors
        gradient_NV, ctx.others_NV = ctx.others_NV, None
        assert gradient_NV is not None, "the backward pass of student_buckets can run only once"
        return gradient_NV.mul_(tail_N1).scatter_add_(1, ids_Nk, top_Nk), None


def _bucket_logprobs(
    logits_NV: Tensor, teacher_ids_Nk: Tensor, teacher_logprobs_Nk: Tensor, teacher_tail_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log p and log q of the buckets, ``[N, k + 1]`` each, at the temperature; ``LOG_ZERO`` if empty."""
    log_q = student_buckets(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk)
    # If the entries are the whole vocabulary, a recorded tail is a rounding error.
    no_tail_N = log_q[:, -1] <= LOG_ZERO / 2
    log_tail_N = teacher_tail_N.log().masked_fill(no_tail_N, LOG_ZERO)
    log_p = torch.cat([teacher_logprobs_Nk, log_tail_N.unsqueeze(1)], dim=1).clamp_min(LOG_ZERO)
    if temperature != 1.0:
        log_p = torch.log_softmax(log_p / temperature, dim=1)
        log_q = torch.log_softmax(log_q / temperature, dim=1)
    return log_p, log_q


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(dim=1)
