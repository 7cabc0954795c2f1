"""Tests of the divergences.

1. Cross-entropy, forward KL, reverse KL and JSD equal values computed by hand and by naive float64 loops.
2. They are non-negative, zero between equal distributions, and at most their value over the whole vocabulary.
3. Zero tails, tiny tails, padded rows and entries that cover the vocabulary give finite values and gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.losses.divergences import MIN_TAIL, cross_entropy, forward_kl, jsd, reverse_kl

Pairs = list[tuple[float, float]]
BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)
LOSSES: list[Callable[..., torch.Tensor]] = [forward_kl, reverse_kl, jsd]


def naive_buckets(logits: list[float], ids: list[int], logprobs: list[float], tail: float, temperature: float) -> Pairs:
    """Return (p, q) of each bucket of one token in float64, by the definition."""
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
    return pairs


def kl(pairs: Pairs) -> float:
    return sum(p * math.log(p / q) for p, q in pairs if p > 0.0)


def naive_kl(logits: list[float], ids: list[int], logprobs: list[float], tail: float, temperature: float) -> float:
    return temperature**2 * kl(naive_buckets(logits, ids, logprobs, tail, temperature))


def naive_jsd(pairs: Pairs, beta: float) -> float:
    """Compute equation 1 of arXiv 2306.13649; beta 0 and 1 are the two KL divergences."""
    if beta in (0.0, 1.0):
        return kl([(q, p) for p, q in pairs] if beta else pairs)
    mixed = [beta * p + (1 - beta) * q for p, q in pairs]
    to_teacher = kl([(p, m) for (p, _), m in zip(pairs, mixed, strict=True)])
    return beta * to_teacher + (1 - beta) * kl([(q, m) for (_, q), m in zip(pairs, mixed, strict=True)])


def tensors(ids: list[list[int]], logprobs: list[list[float]], tail: list[float]) -> tuple[torch.Tensor, ...]:
    return torch.tensor(ids), torch.tensor(logprobs), torch.tensor(tail)


def test_cross_entropy_equals_values_computed_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    values = cross_entropy(logits, torch.tensor([0, 1]))
    assert torch.allclose(values, torch.tensor([math.log(2.0), math.log(10.0)]))


def test_forward_kl_equals_a_value_computed_by_hand() -> None:
    """p = (1/2, 1/4, tail 1/4), q = (1/4, 1/4, 1/8 + 3/8): 1/2 ln 2 + 1/4 ln 1 + 1/4 ln (1/2) = 1/4 ln 2."""
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.125, 0.375]]))
    values = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.25)]], [0.25]))
    assert torch.allclose(values, torch.tensor([0.25 * math.log(2.0)]), atol=1e-6)


def test_temperature_applies_to_both_sides_and_scales_the_value_by_its_square() -> None:
    """p = (0.8, tail 0.2), q = (0.5, 0.5), T = 2: sqrt(p) normalized is (2/3, 1/3); 4 (2/3 ln 4/3 + 1/3 ln 2/3)."""
    logits = torch.zeros(1, 2)
    values = forward_kl(logits, *tensors([[0]], [[math.log(0.8)]], [0.2]), temperature=2.0)
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert torch.allclose(values, torch.tensor([by_hand]), atol=1e-6)


@st.composite
def scored_tokens(draw: st.DrawFn) -> tuple[list[float], list[int], list[float], float]:
    """Student logits, and a teacher truncated to k of V tokens."""
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


@given(scored_tokens(), st.sampled_from([1.0, 0.5, 3.0]), st.sampled_from(BETAS))
@settings(max_examples=300, deadline=None)
def test_reverse_kl_and_jsd_equal_a_naive_float64_loop(
    token: tuple[list[float], list[int], list[float], float], temperature: float, beta: float
) -> None:
    logits, ids, logprobs, tail = token
    given_teacher = torch.tensor([logits]), *tensors([ids], [logprobs], [tail])
    pairs = naive_buckets(logits, ids, logprobs, tail, temperature)
    for value, end in ((jsd(*given_teacher, temperature, beta), beta), (reverse_kl(*given_teacher, temperature), 1.0)):
        expected = temperature**2 * naive_jsd(pairs, end)
        assert abs(value.item() - expected) <= 2e-6 + 5e-6 * abs(expected)
        assert value.item() >= -1e-5


def test_reverse_kl_and_jsd_equal_values_computed_by_hand() -> None:
    """p = (1/2, tail 1/2), q = (1/4, 3/4): KL(q || p) = 1/4 ln 1/2 + 3/4 ln 3/2. With beta 1/2, m = (3/8, 5/8)."""
    teacher = torch.log(torch.tensor([[0.25, 0.375, 0.375]])), *tensors([[0]], [[math.log(0.5)]], [0.5])
    backwards = 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)
    to_teacher = 0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)
    to_student = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    assert reverse_kl(*teacher).item() == pytest.approx(backwards, abs=1e-6)
    assert jsd(*teacher).item() == pytest.approx(0.5 * to_teacher + 0.5 * to_student, abs=1e-6)


@given(scored_tokens(), st.sampled_from(BETAS))
@settings(max_examples=200, deadline=None)
def test_a_truncated_divergence_is_at_most_the_one_over_the_whole_vocabulary(
    token: tuple[list[float], list[int], list[float], float], beta: float
) -> None:
    logits, ids, logprobs, tail = token
    rest = [i for i in range(len(logits)) if i not in ids]
    full_ids, full_logprobs = ids + rest, logprobs + [math.log(max(tail, 1e-12) / len(rest))] * len(rest)
    cut = jsd(torch.tensor([logits]), *tensors([ids], [logprobs], [tail]), beta=beta)
    full = jsd(torch.tensor([logits]), *tensors([full_ids], [full_logprobs], [0.0]), beta=beta)
    q = torch.tensor(logits, dtype=torch.float64).softmax(dim=0)[full_ids].tolist()
    expected = naive_jsd(list(zip(map(math.exp, full_logprobs), q, strict=True)), beta)
    assert full.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert cut.item() <= full.item() + 1e-4


@pytest.mark.parametrize("loss_of", LOSSES)
def test_equal_distributions_have_zero_divergence_and_zero_gradient(loss_of: Callable[..., torch.Tensor]) -> None:
    logits = torch.randn(5, 9, generator=torch.manual_seed(0)).requires_grad_()
    probabilities = logits.detach().softmax(dim=1)
    top = probabilities.topk(4, dim=1)
    loss = loss_of(logits, top.indices, top.values.log(), 1.0 - top.values.sum(dim=1))
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


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("beta", BETAS)
def test_a_teacher_tail_of_zero_gives_a_finite_value_and_lowers_the_students_tail(
    temperature: float, beta: float
) -> None:
    """Most of the student's probability is in the tail; the reverse KL replaces the teacher's tail by 2**-24."""
    logits = torch.tensor([[-3.0, -3.0, 3.0]], requires_grad=True)
    loss = jsd(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.5)]], [0.0]), temperature, beta)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    least = MIN_TAIL if beta == 1.0 else 0.0
    pairs = naive_buckets([-3, -3, 3], [0, 1], [math.log(0.5)] * 2, least, temperature)
    assert loss.item() == pytest.approx(temperature**2 * naive_jsd(pairs, beta), rel=1e-4)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 2] > 0.0


def test_a_student_tail_below_float_precision_has_an_exact_gradient() -> None:
    """q_tail is about e-60; d KL / d z_v = q_v - p_v inside the entries, and -p_tail on the only token of the tail."""
    logits = torch.tensor([[30.0, 30.0, -30.0]], requires_grad=True)
    loss = forward_kl(logits, *tensors([[0, 1]], [[math.log(0.4), math.log(0.3)]], [0.3]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[0.5 - 0.4, 0.5 - 0.3, -0.3]]), atol=1e-6)


@pytest.mark.parametrize("loss_of", LOSSES)
def test_entries_that_cover_the_vocabulary_ignore_a_tail_from_rounding(loss_of: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = loss_of(logits, *tensors([[0, 1]], [[math.log(0.5), math.log(0.5)]], [1e-7]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert 0.0 < loss.item() < 1.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss_of", LOSSES)
def test_padded_entries_change_neither_value_nor_gradient(loss_of: Callable[..., torch.Tensor]) -> None:
    values, gradients = [], []
    for ids, logprobs in (([2, 0], [-0.5, -1.5]), ([2, 0, 2, 2], [-0.5, -1.5, -math.inf, -math.inf])):
        logits = torch.tensor([[0.3, -0.2, 0.9, 0.1]], requires_grad=True)
        loss = loss_of(logits, *tensors([ids], [logprobs], [0.17]), temperature=2.0)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        values.append(loss.detach())
        gradients.append(logits.grad)
    assert torch.allclose(values[0], values[1], atol=1e-7)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)
