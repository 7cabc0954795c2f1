"""Divergences over the whole vocabulary equal dense ones; those over the teacher's top k can have other gradients."""

from __future__ import annotations

import math

import pytest
import torch

from learner.losses.divergences import MIN_TAIL, jsd
from learner.losses.full_vocabulary import full_divergence

BETAS = (0.0, 0.3, 0.5, 1.0)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return 3.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(student: torch.Tensor, teacher: torch.Tensor, beta: float, temperature: float) -> torch.Tensor:
    """Equation 1 of arXiv 2306.13649 in float64, by automatic differentiation."""
    p, q = (teacher / temperature).softmax(dim=1), (student / temperature).softmax(dim=1)
    m = beta * p + (1 - beta) * q
    if beta in (0.0, 1.0):
        a, b = (q, p) if beta else (p, q)
        return temperature**2 * (a * (a / b).log()).sum(dim=1)
    return temperature**2 * (beta * (p * (p / m).log()).sum(dim=1) + (1 - beta) * (q * (q / m).log()).sum(dim=1))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("beta", BETAS)
def test_value_and_gradient_equal_those_of_dense_distributions(beta: float, temperature: float) -> None:
    student, teacher, weights = normal(9, 40, seed=0).requires_grad_(), normal(9, 40, seed=1), torch.arange(9.0)
    expected = dense(student, teacher, beta, temperature)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), student)
    logits = student.detach().float().requires_grad_()
    values = full_divergence(logits, teacher.float(), beta, temperature)
    (values * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(values.double(), expected, rtol=1e-5, atol=1e-6)
    assert logits.grad is not None
    assert torch.allclose(logits.grad.double(), gradient, rtol=1e-5, atol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(logits.grad.double().flatten(), gradient.flatten(), dim=0)
    assert cosine > 0.99999


@pytest.mark.parametrize("beta", BETAS)
def test_ids_that_only_the_teacher_pads_are_left_out(beta: float) -> None:
    student, teacher = normal(4, 20, seed=0).float(), normal(4, 20, seed=1).float()
    padded = torch.nn.functional.pad(teacher, (0, 6), value=-3.0)
    assert torch.allclose(full_divergence(student, padded, beta), full_divergence(student, teacher, beta))


def test_ids_that_the_teacher_lacks_have_probability_0_and_stay_finite() -> None:
    """p = (1/2, 1/2, 0), q = 1/3 each: KL(p||q) = ln 3/2; KL(q||p) = 2/3 ln 2/3 + 1/3 ln (1/3 / 2^-24)."""
    student, teacher = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 2)
    by_hand = {
        0.0: math.log(1.5),
        1.0: 2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3 / MIN_TAIL),
        0.5: 0.5 * math.log(6 / 5) + 0.5 * (2 / 3 * math.log(4 / 5) + 1 / 3 * math.log(2)),
    }
    for beta, value in by_hand.items():
        result = full_divergence(student, teacher, beta)
        assert result.item() == pytest.approx(value, rel=1e-5)
        (gradient,) = torch.autograd.grad(result.sum(), student)
        assert gradient[0, 2] > 0.0  # the student is to lower it


@pytest.mark.parametrize("beta", BETAS)
def test_a_teacher_that_masks_ids_with_minus_infinity_gives_finite_values(beta: float) -> None:
    student, teacher = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.0, 1.0, 2.0, -math.inf]])
    result = full_divergence(student, teacher, beta)
    (gradient,) = torch.autograd.grad(result.sum(), student)
    assert torch.isfinite(gradient).all()
    assert not result.isnan().any()


def test_far_from_the_teacher_top_k_and_whole_vocabulary_differ_for_reverse_kl_and_jsd_only() -> None:
    """The teacher has 96 % of its probability on 16 of 32,000 tokens; the student is random."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(8, 32_000, generator=generator) for _ in range(2))
    ids = teacher.topk(16, dim=1).indices
    top = (1.5 * torch.randn(8, 16, generator=generator)).log_softmax(dim=1) + math.log(0.96)
    logprobs = (teacher.scatter(1, ids, -math.inf).log_softmax(dim=1) + math.log(0.04)).scatter(1, ids, top)
    cosines = {}
    for beta in (0.0, 0.5, 1.0):
        exact, cut = (student.clone().requires_grad_() for _ in range(2))
        full_divergence(exact, logprobs, beta).sum().backward()  # type: ignore[no-untyped-call]
        jsd(cut, ids, top, torch.full((8,), 0.04), beta=beta).sum().backward()  # type: ignore[no-untyped-call]
        assert exact.grad is not None
        assert cut.grad is not None
        cosines[beta] = float(torch.nn.functional.cosine_similarity(exact.grad.flatten(), cut.grad.flatten(), dim=0))
    assert cosines[0.0] == pytest.approx(1.0, abs=1e-3)
    assert cosines[1.0] < 0.2 < cosines[0.5] < 0.98
