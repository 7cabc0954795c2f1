"""Universal logit distillation: likelihoods compared by rank, for models that do not share a vocabulary.

Notation as in `learner.losses.divergences`; besides: M stretches of text, each made of whole tokens on both sides.
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
    """ULD_m = sum_r |p_m(r) - q_m(r)|, r over ranks of falling probability (arXiv 2402.12030, section 3).

    A stretch's distribution is a model's distribution at its first token, times the probabilities that it gives to the
    rest of the stretch's tokens as they were written; so it adds up to less than 1 where a model needs several tokens.
    (The grouping is that of TRL's GOLD trainer, with its merge strategy "observed".) On the teacher's side this was
    done when the episode was put into the student's tokens, `rollout.prompts.alignment`.

    What is approximated: the teacher's ranks beyond its k recorded entries are one bucket, and so is all that the
    student gives to its ranks beyond as many. That makes the value a lower bound of the sum over all ranks. It is equal
    to it if the teacher's entries are its whole vocabulary. Where a further token of a stretch is outside the teacher's
    entries, its probability is taken to be the whole tail.

    Args:
        first_M: ``[M]`` rows of the stretches' first tokens; the others follow each.
        sizes_M: ``[M]`` the student's tokens of each.
        teacher_logprobs_Mk: -inf fills up short rows.

    Returns:
        ``[N]`` in float32: a stretch's value at its first token, 0 elsewhere; so a sum over tokens is one over
        stretches, and a mean over tokens divides by the student's tokens.
    """
    log_q_NV = logits_NV.float().log_softmax(dim=1)
    rest_M = _rest(log_q_NV.gather(1, labels_N.unsqueeze(1)).squeeze(1), first_M, sizes_M)
    q_MV = (log_q_NV[first_M] + rest_M.unsqueeze(1)).exp()
    p_Mk = teacher_logprobs_Mk.exp().sort(dim=1, descending=True).values
    k = p_Mk.shape[1]
    q_Mk = q_MV.topk(min(k, q_MV.shape[1]), dim=1).values
    q_Mk = torch.nn.functional.pad(q_Mk, (0, k - q_Mk.shape[1])) * (p_Mk > 0)
    q_tail_M = q_MV.sum(dim=1) - q_Mk.sum(dim=1)
    distance_M = (p_Mk - q_Mk).abs().sum(dim=1) + (teacher_tail_M - q_tail_M).abs()
    return torch.zeros_like(log_q_NV[:, 0]).index_add(0, first_M, distance_M)


def _rest(taken_N: Tensor, first_M: Tensor, sizes_M: Tensor) -> Tensor:
    """``[M]`` sum of the taken tokens' log-probabilities over a stretch but for its first token."""
    rows_N = torch.arange(len(taken_N), device=taken_N.device)
    owner_N = torch.searchsorted(first_M, rows_N, right=True) - 1  # -1: before the first stretch
    place_N = rows_N - first_M[owner_N]
    inside_N = (owner_N >= 0) & (place_N > 0) & (place_N < sizes_M[owner_N])
    return torch.zeros_like(taken_N[: len(first_M)]).index_add(0, owner_N[inside_N], taken_N[inside_N])
