"""The loss of a micro-batch: a sum of terms, each a weight stream times a divergence.

Terms with the same divergence and parameters are evaluated once, with the sum of their weights per token. So terms with
lambda 1 whose streams partition the generated tokens give bit for bit the loss of one term over the generated tokens.

Dimensions: N predicted tokens, V vocabulary, S terms, R tokens with weight in a group of terms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.batching import Batch
from learner.config import DIVERGENCES, CrossEntropyTerm, Term, ULDTerm
from learner.losses.divergences import cross_entropy
from learner.losses.uld import uld


def term_coefficients(terms: Sequence[Term], counts: Sequence[float]) -> list[float]:
    """Return the factor on each term's weighted sum.

    Args:
        counts: for each term, the sum of its weights over the whole step and all ranks. This is its number of tokens,
            or of spans with ``span_mean``.
    """
    return [
        0.0 if count == 0 else (term.weight if term.reduction == "sum" else term.weight / count)
        for term, count in zip(terms, counts, strict=True)
    ]


def objective(
    logits_NV: Tensor, batch: Batch, terms: Sequence[Term], coefficients: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Compute L = sum_s c_s sum_n w_sn D_s,n of one micro-batch.

    Args:
        logits_NV: the student's logits at ``batch.positions``.
        coefficients: c_s, see `term_coefficients`.

    Returns:
        The scalar loss, and the detached contribution ``[S]`` of each term to it, without its lambda.
    """
    loss = logits_NV[:1].sum() * 0.0  # all parameters get a gradient also without weights
    values = torch.zeros(len(terms), device=logits_NV.device)
    for group in _groups(terms):
        weights = sum(
            (np.float32(coefficients[s]) * batch.weights[s] for s in group),
            np.zeros(batch.weights.shape[1], np.float32),
        )
        rows = np.flatnonzero(weights)
        if len(rows) == 0:
            continue
        divergence_R = _divergence(terms[group[0]], _select(logits_NV, rows), batch, rows)
        loss = loss + (divergence_R * _tensor(weights[rows], logits_NV)).sum()
        for s in group:
            share = batch.weights[s][rows] * np.float32(coefficients[s] / terms[s].weight)
            values[s] = (divergence_R.detach() * _tensor(share, logits_NV)).sum()
    return loss, values


def _groups(terms: Sequence[Term]) -> list[list[int]]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, term in enumerate(terms):
        groups.setdefault((term.divergence, *sorted(term.parameters.items())), []).append(index)
    return list(groups.values())


def _divergence(term: Term, logits_RV: Tensor, batch: Batch, rows: NDArray[np.int64]) -> Tensor:
    if isinstance(term, CrossEntropyTerm):
        return cross_entropy(logits_RV, _tensor(batch.labels[rows], logits_RV))
    if isinstance(term, ULDTerm):
        return _uld(logits_RV, batch, rows)
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
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device, non_blocking=True)
