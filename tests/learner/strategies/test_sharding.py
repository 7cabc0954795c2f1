"""Gradients are clipped as torch clips them, and full weights are read once each."""

from __future__ import annotations

import math

import pytest
import torch

from learner.config import LoraConfig
from learner.model import _with_adapters
from learner.strategies.sharding import clip_gradients, full_weights
from tests.learner.toys import toy_model

CPU = torch.device("cpu")


def parameters(scale: float) -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    made = [torch.nn.Parameter(torch.randn(size)) for size in ((3, 4), (5,), (2,))]
    for parameter in made[:2]:  # the last one has no gradient
        parameter.grad = scale * torch.randn(parameter.shape)
    return made


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_gradients_are_clipped_as_by_torch(scale: float) -> None:
    ours, theirs = parameters(scale), parameters(scale)
    norm = clip_gradients(ours, 1.0, CPU)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_the_norm_shows_a_gradient_that_is_not_finite(value: float) -> None:
    bad = parameters(1.0)
    assert bad[0].grad is not None
    bad[0].grad[0, 0] = value
    assert not math.isfinite(clip_gradients(bad, 1.0, CPU))


def test_tied_weights_are_read_once_and_of_adapters_only_theirs() -> None:
    model = toy_model()
    names = [name for name, _ in full_weights(model, CPU)]
    assert len(names) == len(set(names)) == len(dict(model.named_parameters()))
    adapted = _with_adapters(model, LoraConfig(rank=2))
    assert {name.rpartition("lora_")[1] for name, _ in full_weights(adapted, CPU)} == {"lora_"}
