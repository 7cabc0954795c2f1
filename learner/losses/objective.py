"""The loss of a micro-batch: a sum of terms, each a weight stream times a divergence.

Terms with the same divergence and parameters are evaluated once, with the sum of their weights per token. So terms with
lambda 1 whose streams partition the generated tokens give bit for bit the loss of one term over the generated tokens.

Dimensions: N predicted tokens, V vocabulary, S terms, R tokens with weight in a group of terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.data.batching import Batch
from learner.distributed import to_device
from learner.losses.chunks import group_weights, term_groups
from learner.losses.divergences import cross_entropy
from learner.losses.full_vocabulary import full_divergence
from learner.losses.uld import uld
from learner.terms import DIVERGENCES, CrossEntropyTerm, Term, ULDTerm


def term_coefficients(terms: Sequence[Term], counts: Sequence[float], sum_divisor: float = 1.0) -> list[float]:
    """Return the factor on each term's weighted sum.

    Args:
        counts: for each term, the sum of its weights over the whole step and all ranks. This is its number of tokens,
            or of spans with ``span_mean``.
        sum_divisor: what terms with the reduction ``sum`` divide by; see `tokens_of_sums`.
    """
    return [
        0.0 if count == 0 else term.weight / (sum_divisor if term.reduction == "sum" else count)
        for term, count in zip(terms, counts, strict=True)
    ]


def tokens_of_sums(terms: Sequence[Term], counts_per_episode: Sequence[float]) -> float:
    """Return the mean number of tokens of an episode that the terms with the reduction ``sum`` add up, at least 1.

    It is one constant for all of them and for the whole fit. Divided by it and by the number of episodes of the step,
    a sum over tokens has the scale of a mean, so one ``max_grad_norm`` suits both. What distinguishes a sum remains: a
    stream, an episode or a step with more tokens counts more.

    Args:
        counts_per_episode: for each term, the mean sum of its weights over an episode of the training set.
    """
    return max(1.0, sum(c for term, c in zip(terms, counts_per_episode, strict=True) if term.reduction == "sum"))


def objective(
    logits_NV: Tensor,
    batch: Batch,
    terms: Sequence[Term],
    coefficients: Sequence[float],
    teacher_logits: Callable[[], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute L = sum_s c_s sum_n w_sn D_s,n of one micro-batch, or of a chunk of it.

    Args:
        logits_NV: the student's logits at ``batch.positions``.
        coefficients: c_s, see `term_coefficients`.
        teacher_logits: gives the teacher's logits ``[N, U]`` there, for terms with the signal ``exact``.

    Returns:
        The scalar loss, and the detached contribution ``[S]`` of each term to it, without its lambda.
    """
    parts: list[Tensor] = []
    values = torch.zeros(len(terms), device=logits_NV.device)
    for group in term_groups(terms):
        weights = group_weights(batch, group, coefficients)
        rows = np.flatnonzero(weights)
        if len(rows) == 0:
            continue
        divergence_R = _divergence(terms[group[0]], logits_NV, batch, rows, teacher_logits)
        parts.append((divergence_R * _tensor(weights[rows], logits_NV)).sum())
        for s in group:
            share = batch.weights[s][rows] * np.float32(coefficients[s] / terms[s].weight)
            values[s] = (divergence_R.detach() * _tensor(share, logits_NV)).sum()
    # Without weights the loss is 0, and all parameters still get a gradient.
    return torch.stack(parts).sum() if parts else logits_NV[:0].float().sum(), values


def _divergence(
    term: Term,
    logits_NV: Tensor,
    batch: Batch,
    rows: NDArray[np.int64],
    teacher_logits: Callable[[], Tensor] | None,
) -> Tensor:
    logits_RV = _select(logits_NV, rows)
    if isinstance(term, CrossEntropyTerm):
        return cross_entropy(logits_RV, _tensor(batch.labels[rows], logits_RV))
    if isinstance(term, ULDTerm):
        return _uld(logits_RV, batch, rows)
    if term.signal == "exact":
        assert teacher_logits is not None, "a term with the signal exact needs the teacher's logits"
        beta = float(term.parameters.get("beta", term.divergence == "reverse_kl"))
        return full_divergence(logits_RV, _select(teacher_logits(), rows), beta, term.temperature)
    at = np.searchsorted(batch.teacher_rows, rows)
    teacher = known_entries(
        batch.teacher_ids[at], batch.teacher_logprobs[at], batch.teacher_tail[at], logits_RV.shape[1]
    )
    divergence_R: Tensor = DIVERGENCES.load(term.divergence)(
        logits_RV, *(_tensor(array, logits_RV) for array in teacher), **term.parameters
    )
    return divergence_R


def known_entries(
    ids: NDArray[np.int64], logprobs: NDArray[np.float32], tail: NDArray[np.float32], vocabulary: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """The teacher's entries ``[R, k]`` that the student has; the mass ``[R]`` of others moves to the tail.

    Models of one family share a tokenizer, but pad their vocabularies to different sizes.
    """
    beyond = ids >= vocabulary
    if not beyond.any():
        return ids, logprobs, tail
    first_known = np.take_along_axis(ids, beyond.argmin(axis=1)[:, None], axis=1)  # as padded entries have it
    moved = np.exp(logprobs, where=beyond, out=np.zeros_like(logprobs)).sum(axis=1)
    known = np.minimum(np.where(beyond, first_known, ids), vocabulary - 1)
    return known, np.where(beyond, np.float32(-np.inf), logprobs), tail + moved


def _uld(logits_RV: Tensor, batch: Batch, rows: NDArray[np.int64]) -> Tensor:
    """``rows`` holds all tokens of an aligned group or none: a group lies in one segment, so its weights are equal."""
    wanted = np.isin(batch.teacher_rows, rows)
    return uld(
        logits_RV,
        _tensor(batch.labels[rows], logits_RV),
        _tensor(np.searchsorted(rows, batch.teacher_rows[wanted]), logits_RV),
        _tensor(batch.teacher_sizes[wanted], logits_RV),
        _tensor(batch.teacher_logprobs[wanted], logits_RV),
        _tensor(batch.teacher_tail[wanted], logits_RV),
    )


def _select(logits_NV: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return logits_NV if len(rows) == len(logits_NV) else logits_NV.index_select(0, _tensor(rows, logits_NV))


def _tensor(array: NDArray[np.float32] | NDArray[np.int64], like: Tensor) -> Tensor:
    return to_device(array, like.device)
