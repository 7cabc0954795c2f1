"""The learning rate follows the used fraction of the budget, and Muon gets only the matrices of the layers."""

from __future__ import annotations

import pytest
import torch

from learner.config import LearnerConfig
from learner.strategies.optim import learning_rate_factor, make_optimizers
from rollout.errors import UserError
from tests.learner.toys import small_model, toy_model


def config(**changes: object) -> LearnerConfig:
    return LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1, **changes})


@pytest.mark.parametrize(
    ("decay", "fraction", "factor"),
    [
        ("linear", 0.05, 0.5),
        ("linear", 0.1, 1.0),
        ("linear", 0.55, 0.6),
        ("linear", 1.0, 0.2),
        ("cosine", 0.1, 1.0),
        ("cosine", 0.55, 0.6),
        ("cosine", 1.0, 0.2),
        ("constant", 0.9, 1.0),
    ],
)
def test_the_rate_warms_up_to_one_and_decays_to_its_final_fraction(decay: str, fraction: float, factor: float) -> None:
    settings = config(decay=decay, warmup_fraction=0.1, final_learning_rate_fraction=0.2)
    assert learning_rate_factor(fraction, settings) == pytest.approx(factor)


def test_the_first_step_has_a_positive_learning_rate() -> None:
    assert learning_rate_factor(0.0, config(warmup_fraction=0.5)) > 0.0
    assert learning_rate_factor(0.0, config(warmup_fraction=0.0)) == 1.0


@pytest.mark.parametrize(
    ("kind", "matrices", "embeddings"),
    [
        ("qwen2", 7, "model.embed_tokens.weight"),
        ("opt", 6, "model.decoder.embed_positions.weight"),
        ("gpt2", 4, "transformer.wpe.weight"),
    ],
)
def test_muon_gets_the_matrices_of_layers_and_adamw_every_other_parameter(
    kind: str, matrices: int, embeddings: str
) -> None:
    model = small_model(kind)
    adamw, muon = make_optimizers(model, config(optimizer="muon"))
    assert isinstance(muon, torch.optim.Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = [names[id(p)] for group in muon.param_groups for p in group["params"]]
    by_adamw = [names[id(p)] for group in adamw.param_groups for p in group["params"]]
    assert sorted(by_muon + by_adamw) == sorted(names.values())
    assert len(by_muon) == 2 * matrices
    assert embeddings in by_adamw


def test_muons_update_has_the_same_size_for_a_matrix_and_its_transpose() -> None:
    """GPT-2 stores matrices as [inputs, outputs]; its MLP has one with ratio 1:4 and one with ratio 4:1."""
    model = small_model("gpt2")
    _, muon = make_optimizers(model, config(optimizer="muon", learning_rate=1.0, weight_decay=0.0))
    mlp = model.transformer.h[0].mlp
    moved = []
    for matrix in (mlp.c_fc.weight, mlp.c_proj.weight):
        before, matrix.grad = matrix.detach().clone(), torch.randn(matrix.shape)
        muon.step()
        moved.append((matrix.detach() - before).square().mean().sqrt().item())
        matrix.grad = None
    assert moved == pytest.approx([0.2, 0.2], rel=0.25)  # RMS relative to the learning rate, as for AdamW


def test_muon_rejects_a_model_that_does_not_declare_its_layer_class() -> None:
    with pytest.raises(UserError, match="type 'biogpt' do not declare their layer class; set learner.strategy to ddp"):
        make_optimizers(small_model("biogpt"), config(optimizer="muon"))


def test_norms_and_biases_have_no_weight_decay() -> None:
    (adamw,) = make_optimizers(toy_model(), config(weight_decay=0.3))
    for group in adamw.param_groups:
        dimensions = {p.ndim for p in group["params"]}
        assert group["weight_decay"] == (0.0 if dimensions == {1} else 0.3)
