"""Universal logit distillation: compares sorted probabilities, for models with different vocabularies.

Dimensions as in `learner.losses.divergences`, and M aligned groups: minimal pieces of text that consist of whole tokens
in both tokenizations.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uld(
    logits_NV: Tensor,
    labels_N: Tensor,
    first_M: Tensor,
    sizes_M: Tensor,
    teacher_logprobs_Mk: Tensor,
    teacher_tail_M: Tensor,
) -> Tensor:
    """ULD_m = sum_r |p_m(r) - q_m(r)|, r over ranks of descending probability (arXiv 2402.12030, section 3).

    The distribution of a group is a model's distribution at the group's first token, times the probabilities of the
    group's other recorded tokens. So it adds up to less than 1 for groups of several tokens. This is the grouping of
    TRL's GOLD trainer with merge strategy "observed". `rollout.prompts.alignment` has applied it to the teacher's side.

    The teacher's ranks beyond its k recorded entries are merged into one bucket, and so are the student's ranks beyond
    k. The value is therefore a lower bound of the sum over all ranks, and equal to it if the entries are the teacher's
    whole vocabulary. A recorded token that is not among the teacher's entries gets the probability of the whole tail.

    Args:
        logits_NV: the student's logits.
        labels_N: the recorded tokens.
        first_M: row of the first token of each group, ascending; the group's other tokens follow it.
        sizes_M: number of student tokens of each group.
        teacher_logprobs_Mk: log-probabilities of the teacher's entries; -inf at padded entries.
        teacher_tail_M: total probability of the teacher's other tokens.

    Returns:
        ``[N]`` in float32: the value of each group at its first token, 0 elsewhere. So a sum over tokens is a sum over
        groups, and a mean over tokens divides by the number of student tokens.
    """
    log_q_NV = logits_NV.float().log_softmax(dim=1)
    rest_M = _continuation_logprobs(log_q_NV.gather(1, labels_N.unsqueeze(1)).squeeze(1), first_M, sizes_M)
    q_MV = (log_q_NV[first_M] + rest_M.unsqueeze(1)).exp()
    p_Mk = teacher_logprobs_Mk.exp().sort(dim=1, descending=True).values
    k = p_Mk.shape[1]
    q_Mk = q_MV.topk(min(k, q_MV.shape[1]), dim=1).values
    q_Mk = torch.nn.functional.pad(q_Mk, (0, k - q_Mk.shape[1])) * (p_Mk > 0)
    q_tail_M = q_MV.sum(dim=1) - q_Mk.sum(dim=1)
    distance_M = (p_Mk - q_Mk).abs().sum(dim=1) + (teacher_tail_M - q_tail_M).abs()
    return torch.zeros_like(log_q_NV[:, 0]).index_add(0, first_M, distance_M)


def _continuation_logprobs(logprobs_N: Tensor, first_M: Tensor, sizes_M: Tensor) -> Tensor:
    """Return ``[M]``: the summed log-probabilities of the recorded tokens of each group, except its first token."""
    rows_N = torch.arange(len(logprobs_N), device=logprobs_N.device)
    group_N = torch.searchsorted(first_M, rows_N, right=True) - 1  # -1: before the first group
    offset_N = rows_N - first_M[group_N]
    inside_N = (group_N >= 0) & (offset_N > 0) & (offset_N < sizes_M[group_N])
    return torch.zeros_like(logprobs_N[: len(first_M)]).index_add(0, group_N[inside_N], logprobs_N[inside_N])
