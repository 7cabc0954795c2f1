"""Divergences between teacher and student, one value a predicted token. Pure functions of tensors.

Notation: N predicted tokens, V vocabulary, k teacher entries; p is the teacher, q the student. All values are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = -1e30
"""Stands for log 0 where -inf would make gradients NaN; exp of it is exactly 0."""


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
    """KL_n = sum_i p_i (log p_i - log q_i) + p_tail (log p_tail - log q_tail). Returns ``[N]`` in float32.

    i runs over the teacher's entries; the tails are the mass that either side gives to all other tokens, as one bucket.
    This is a lower bound of the KL over the vocabulary, and equal to it if the tails have the same shape. It is the
    masked KL of Structured Agent Distillation (arXiv 2505.13820, section 3) with the teacher's support cut to k.

    The student's tail is a logsumexp over the other tokens' logits. 1 - sum_i q_i would cancel to noise where the tail
    is small, in the value and worse in the gradient. A teacher tail of 0 contributes 0.

    With a temperature, both sides' bucketed distributions are raised to 1/temperature and renormalised, and the result
    is multiplied by temperature squared, so that gradients keep their size (arXiv 1503.02531, section 2).

    Entries whose log-probability is -inf fill up short rows and must repeat another id of the row.
    """
    log_q = student_buckets(logits_NV, teacher_ids_Nk, teacher_logprobs_Nk)
    no_tail_N = log_q[:, -1] <= NEVER / 2  # the entries are the whole vocabulary: a recorded tail is rounding
    log_tail_N = teacher_tail_N.log().masked_fill(no_tail_N, NEVER)
    log_p = torch.cat([teacher_logprobs_Nk, log_tail_N.unsqueeze(1)], dim=1).clamp_min(NEVER)
    if temperature != 1.0:
        log_p = torch.log_softmax(log_p / temperature, dim=1)
        log_q = torch.log_softmax(log_q / temperature, dim=1)
    terms = log_p.exp() * (log_p - log_q)
    return terms.sum(dim=1) * temperature**2


def student_buckets(logits_NV: Tensor, teacher_ids_Nk: Tensor, teacher_logprobs_Nk: Tensor) -> Tensor:
    """``[N, k + 1]``: log q at the teacher's entries, and log of all that is left. ``NEVER`` at filled-up entries."""
    logits = logits_NV.float()
    missing = torch.isneginf(teacher_logprobs_Nk)
    top = logits.gather(1, teacher_ids_Nk).masked_fill(missing, NEVER)
    tail = logits.scatter(1, teacher_ids_Nk, NEVER).logsumexp(dim=1, keepdim=True)
    buckets = torch.cat([top, tail], dim=1)
    return buckets - buckets.logsumexp(dim=1, keepdim=True)
