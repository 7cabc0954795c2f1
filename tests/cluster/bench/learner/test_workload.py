"""The episodes and models of the learner's benchmark."""

from __future__ import annotations

import pytest

from cluster.bench.learner.flops import explanation, peak_tflops, step_tflop
from cluster.bench.learner.workload import (
    CONFIDENT,
    CPU,
    QUICK,
    RESERVED,
    ModelSize,
    description,
    episodes,
    gpu_workload,
    parameters,
    token_ids,
    trained,
)
from rollout.trajectory import Author


def test_the_models_have_the_sizes_of_the_earlier_measurement() -> None:
    sizes = description(CPU)
    assert sizes["student_parameters"] == pytest.approx(10.6e6, rel=0.01)
    assert sizes["teacher_parameters"] == pytest.approx(32.5e6, rel=0.01)
    assert sizes["vocabulary"] == 32_000
    gpu = description(gpu_workload(4096))
    assert gpu["student_parameters"] == pytest.approx(0.494e9, rel=0.01)
    assert gpu["teacher_parameters"] == pytest.approx(1.544e9, rel=0.01)


def test_the_number_of_parameters_is_that_of_the_model() -> None:
    from cluster.bench.learner.models import make_model

    model = make_model(QUICK, QUICK.student, seed=0)
    assert sum(p.numel() for p in model.parameters()) == parameters(QUICK, QUICK.student)


def test_a_quarter_of_the_tokens_is_trained_on_and_none_is_one_of_the_confident_tokens() -> None:
    made = episodes(CPU)
    ids = [token for episode in made for token in token_ids(episode)]
    assert sum(sum(trained(episode)) for episode in made) / len(ids) == pytest.approx(0.26, abs=0.005)
    assert min(ids) >= RESERVED > max(CONFIDENT)
    assert max(ids) < CPU.vocabulary
    assert all(CPU.tokens[0] <= len(token_ids(episode)) <= CPU.tokens[1] for episode in made)
    assert all(episode.segments[0].author is Author.PROMPT for episode in made)


def test_the_same_seed_gives_the_same_episodes() -> None:
    assert episodes(QUICK) == episodes(QUICK)
    assert episodes(QUICK, seed=1) != episodes(QUICK)


def test_model_flops_of_a_step_by_hand() -> None:
    """Two episodes of 4,096 tokens, half of them trained on, of a model with one layer."""
    workload = gpu_workload(4096)
    size = ModelSize(hidden=64, layers=1, heads=2, kv_heads=1, intermediate=128)
    small = type(workload)("by hand", size, size, vocabulary=1000, episodes=2, tokens=(4096, 4096))
    layer = 64 * 64 * 2 + 2 * 64 * 32 + (64 + 2 * 32) + 3 * 64 * 128 + 2 * 64
    expected = 6 * (layer + 64) * 8192 + 6 * 1 * 64 * 2 * 4096**2 + 6 * 1000 * 64 * 4096
    assert step_tflop(small, [4096, 4096], 4096) == pytest.approx(expected / 1e12)


@pytest.mark.parametrize(
    ("device", "peak"),
    [("NVIDIA H200", 989.0), ("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("a new one", None)],
)
def test_the_peak_of_a_gpu_is_assumed_by_its_name_and_said(device: str, peak: float | None) -> None:
    assert peak_tflops(device) == peak
    assert (f"{peak} TFLOP/s" if peak else "MFU is not computed") in explanation(device)
