"""Semantics that are pinned here.

1. Cross-entropy and the cut forward KL equal numbers worked by hand and naive float64 loops.
2. The cut KL is never negative, zero between equal distributions, and at most the KL over the whole vocabulary.
3. Tails of zero, tiny tails, short rows and entries that cover the vocabulary give finite values and gradients.
"""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.losses import cross_entropy, forward_kl


def naive_kl(logits: list[float], ids: list[int], logprobs: list[float], tail: float, temperature: float) -> float:
    """One token, float64, straight from the definition."""
    top = max(logits)
    total = sum(math.exp(z - top) for z in logits)
    q = [math.exp(z - top) / total for z in logits]
    pairs = [(math.exp(lp), q[i]) for i, lp in zip(ids, logprobs, strict=True) if lp > -math.inf]
    kept = {i for i, lp in zip(ids, logprobs, strict=True) if lp > -math.inf}
    pairs.append((tail, sum(value for i, value in enumerate(q) if i not in kept)))
    if temperature != 1.0:
        p_sum = sum(p ** (1 / temperature) for p, _ in pairs)
        q_sum = sum(s ** (1 / temperature) for _, s in pairs)
        pairs = [(p ** (1 / temperature) / p_sum, s ** (1 / temperature) / q_sum) for p, s in pairs]
    return temperature**2 * sum(p * math.log(p / s) for p, s in pairs if p > 0.0)


def tensors(ids: list[list[int]], logprobs: list[list[float]], tail: list[float]) -> tuple[torch.Tensor, ...]:
    return torch.tensor(ids), torch.tensor(logprobs), torch.tensor(tail)


def test_cross_entropy_equals_numbers_worked_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    values = cross_entropy(logits, torch.tensor([0, 1]))
    assert torch.allclose(values, torch.tensor([math.log(2.0), math.log(10.0)]))


def test_forward_kl_equals_a_number_worked_by_hand() -> None:
    """p = (1/2, 1/4, tail 1/4), q = (1/4, 1/4, 1/8 + 3/8): 1/2 ln 2 + 1/4 ln 1 + 1/4 ln (1/2) = 1/4 ln 2."""
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.125, 0.375]]))
    values = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.25)]], [0.25]))
    assert torch.allclose(values, torch.tensor([0.25 * math.log(2.0)]), atol=1e-6)


def test_temperature_tempers_both_bucketed_sides_and_scales_by_its_square() -> None:
    """p = (0.8, tail 0.2), q = (0.5, 0.5), T = 2: sqrt(p) normalised is (2/3, 1/3); 4 (2/3 ln 4/3 + 1/3 ln 2/3)."""
    logits = torch.zeros(1, 2)
    values = forward_kl(logits, *tensors([[0]], [[math.log(0.8)]], [0.2]), temperature=2.0)
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert torch.allclose(values, torch.tensor([by_hand]), atol=1e-6)


@st.composite
def scored_tokens(draw: st.DrawFn) -> tuple[list[float], list[int], list[float], float]:
    """Student logits, and a teacher cut to k of V tokens."""
    vocabulary = draw(st.integers(2, 12))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    logits = draw(st.lists(st.floats(-3, 3), min_size=vocabulary, max_size=vocabulary))
    teacher = draw(st.lists(st.floats(0.01, 1.0), min_size=vocabulary, max_size=vocabulary))
    k = draw(st.integers(1, vocabulary - 1))
    ids = sorted(range(vocabulary), key=lambda i: -teacher[i])[:k]
    probabilities = [teacher[i] / sum(teacher) for i in range(vocabulary)]
    tail = sum(probabilities) - sum(probabilities[i] for i in ids)
    return [z * scale for z in logits], ids, [math.log(probabilities[i]) for i in ids], tail


@given(scored_tokens(), st.sampled_from([1.0, 0.5, 3.0]))
@settings(max_examples=200, deadline=None)
def test_forward_kl_equals_a_naive_float64_loop(
    token: tuple[list[float], list[int], list[float], float], temperature: float
) -> None:
    logits, ids, logprobs, tail = token
    value = forward_kl(torch.tensor([logits]), *tensors([ids], [logprobs], [tail]), temperature=temperature)
    expected = naive_kl(logits, ids, logprobs, tail, temperature)
    assert abs(value.item() - expected) <= 1e-6 + 5e-6 * abs(expected)
    assert value.item() >= -1e-5


@given(scored_tokens())
@settings(max_examples=100, deadline=None)
def test_the_cut_kl_is_at_most_the_kl_over_the_vocabulary(
    token: tuple[list[float], list[int], list[float], float],
) -> None:
    logits, ids, logprobs, tail = token
    rest = [i for i in range(len(logits)) if i not in ids]
    full_ids, full_logprobs = ids + rest, logprobs + [math.log(max(tail, 1e-12) / len(rest))] * len(rest)
    cut = forward_kl(torch.tensor([logits]), *tensors([ids], [logprobs], [tail]))
    full = forward_kl(torch.tensor([logits]), *tensors([full_ids], [full_logprobs], [0.0]))
    assert float(cut) <= float(full) + 1e-4


def test_equal_distributions_have_no_divergence_and_no_gradient() -> None:
    logits = torch.randn(5, 9, generator=torch.manual_seed(0)).requires_grad_()
    probabilities = logits.detach().softmax(dim=1)
    top = probabilities.topk(4, dim=1)
    loss = forward_kl(logits, top.indices, top.values.log(), 1.0 - top.values.sum(dim=1))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.abs().max() < 1e-6
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_a_teacher_tail_of_zero_contributes_nothing() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    loss = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.5)]], [0.0]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert math.isclose(loss.item(), naive_kl([1, 2, 3], [0, 1], [math.log(0.5)] * 2, 0.0, 1.0), rel_tol=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_student_tail_far_below_float_precision_keeps_an_exact_gradient() -> None:
    """q_tail is about e-60; d KL / d z_v = q_v - p_v inside the entries, and -p_tail on the only token of the tail."""
    logits = torch.tensor([[30.0, 30.0, -30.0]], requires_grad=True)
    loss = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.4), math.log(0.3)]], [0.3]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[0.5 - 0.4, 0.5 - 0.3, -0.3]]), atol=1e-6)


def test_entries_that_cover_the_vocabulary_ignore_a_tail_of_rounding() -> None:
    logits = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.5)]], [1e-7]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert 0.0 < loss.item() < 1.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_filled_up_entries_change_neither_value_nor_gradient() -> None:
    values, gradients = [], []
    for ids, logprobs in (([2, 0], [-0.5, -1.5]), ([2, 0, 2, 2], [-0.5, -1.5, -math.inf, -math.inf])):
        logits = torch.tensor([[0.3, -0.2, 0.9, 0.1]], requires_grad=True)
        loss = forward_kl(logits, *tensors([ids], [logprobs], [0.17]), temperature=2.0)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        values.append(loss.detach())
        gradients.append(logits.grad)
    assert torch.allclose(values[0], values[1], atol=1e-7)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)
