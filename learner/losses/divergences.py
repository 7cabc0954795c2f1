"""Divergences between teacher and student, one value a predicted token. Pure functions of tensors.

Notation: N predicted tokens, V vocabulary, k teacher entries; p is the teacher, q the student. All values are in nats.

Forward KL, reverse KL and Jensen-Shannon are taken over buckets: the teacher's k entries, and one tail for the mass
that either side gives to all other tokens. Putting tokens together never enlarges them, so at temperature 1 each is a
lower bound of its value over the vocabulary, and equal to it if the tails have the same shape. At any temperature it is
equal if the entries are the whole vocabulary.

With a temperature, both sides' buckets are raised to 1/temperature and renormalised, and the result is multiplied by
temperature squared, so that gradients keep their size (arXiv 1503.02531, section 2).

The student's tail is a logsumexp over the other tokens' logits. 1 - sum_i q_i would cancel to noise where the tail is
small, in the value and worse in the gradient. Entries whose log-probability is -inf fill up short rows and must repeat
another id of the row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEVER = -1e30
"""Stands for log 0 where -inf would make gradients NaN; exp of it is exactly 0."""
LEAST_TAIL = 2.0**-24
"""Half a step of single precision below 1: a smaller rest cannot be told from 0 where the rest is 1 - sum_i p_i."""


def cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """CE_n = -log q(label_n) = logsumexp_v z_nv - z_n,label. Returns ``[N]`` in float32."""
    return torch.nn.functional.cross_entropy(logits_NV.float(), labels_N, reduction="none")


def forward_kl(
    logits_NV: Tensor,
    teacher_ids_Nk: Tensor,
    teacher_logprobs_Nk: Tensor,
    teacher_tail_N: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """KL_n = sum_i p_i (log p_i - log q_i), i over the buckets. Returns ``[N]`` in float32.

    It is the masked KL of Structured Agent Distillation (arXiv 2505.13820, section 3) with the teacher's support cut to
    k. A teacher tail of 0 contributes 0.
    """
    log_p, log_q = _both(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    return _kl(log_p, log_q) * temperature**2


def reverse_kl(
    logits_NV: Tensor,
    teacher_ids_Nk: Tensor,
    teacher_logprobs_Nk: Tensor,
    teacher_tail_N: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """KL_n = sum_i q_i (log q_i - log p_i), i over the buckets (MiniLLM, arXiv 2306.08543). ``[N]`` in float32.

    A teacher tail of 0 would make it infinite wherever the student leaves the entries. It says only that the rest was
    too small to be recorded, so a tail counts as `LEAST_TAIL` at least: what the student puts there costs up to 16.6
    nats a unit of mass. Where the entries are the whole vocabulary there is no tail, and nothing is added.
    """
    tail = teacher_tail_N.clamp_min(LEAST_TAIL)
    log_p, log_q = _both(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, tail, temperature)
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

    The generalised Jensen-Shannon divergence of on-policy distillation (arXiv 2306.13649, equation 1). As it goes to 0
    at both ends, beta 0 stands for the forward KL and beta 1 for the reverse KL, as in TRL's ``generalized_jsd_loss``
    (which does not multiply by temperature squared). In between, a teacher tail of 0 needs no care: m has a tail.
    """
    if beta in (0.0, 1.0):
        end = reverse_kl if beta else forward_kl
        return end(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    log_p, log_q = _both(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk, teacher_tail_N, temperature)
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return (beta * _kl(log_p, log_m) + (1.0 - beta) * _kl(log_q, log_m)) * temperature**2


def student_buckets(logits_NV: Tensor, teacher_ids_Nk: Tensor, teacher_logprobs_Nk: Tensor) -> Tensor:
    """``[N, k + 1]``: log q at the teacher's entries, and log of all that is left. ``NEVER`` at filled-up entries."""
    logits = logits_NV.float()
    missing = torch.isneginf(teacher_logprobs_Nk)
    top = logits.gather(1, teacher_ids_Nk).masked_fill(missing, NEVER)
    tail = logits.scatter(1, teacher_ids_Nk, NEVER).logsumexp(dim=1, keepdim=True)
    buckets = torch.cat([top, tail], dim=1)
    return buckets - buckets.logsumexp(dim=1, keepdim=True)


def _both(
    logits_NV: Tensor, teacher_ids_Nk: Tensor, teacher_logprobs_Nk: Tensor, teacher_tail_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log p and log q of the buckets, ``[N, k + 1]`` each, tempered; ``NEVER`` where there is nothing."""
    log_q = student_buckets(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk)
    no_tail_N = log_q[:, -1] <= NEVER / 2  # the entries are the whole vocabulary: a recorded tail is rounding
    log_tail_N = teacher_tail_N.log().masked_fill(no_tail_N, NEVER)
    log_p = torch.cat([teacher_logprobs_Nk, log_tail_N.unsqueeze(1)], dim=1).clamp_min(NEVER)
    if temperature != 1.0:
        log_p = torch.log_softmax(log_p / temperature, dim=1)
        log_q = torch.log_softmax(log_q / temperature, dim=1)
    return log_p, log_q


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(dim=1)
