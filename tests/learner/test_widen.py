"""A widened model computes the same function, its copied units can diverge, and other architectures are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import GPT2Config, GPT2LMHeadModel

from learner.config import LearnerConfig, ScratchConfig
from learner.model import from_scratch
from learner.widen import widen
from rollout.errors import UserError
from tests.learner.toys import toy_tokenizer

IDS = torch.arange(2, 30).reshape(2, 14)


def narrow(folder: Path, **changes: object) -> ScratchConfig:
    small = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "intermediate_size": 48}
    return ScratchConfig.model_validate({"tokenizer": toy_tokenizer(folder), **small, **changes})


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_widened_model_gives_the_same_logits(tmp_path: Path, family: str, tie: bool, factor: int) -> None:
    model = from_scratch(narrow(tmp_path, family=family, tie_embeddings=tie)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms that are not all zeros and ones
            parameter.add_(0.1 * torch.randn_like(parameter))
        wide = widen(model, factor, noise=0.0).eval()
        assert torch.allclose(model(IDS).logits, wide(IDS).logits, atol=1e-4)
    assert wide.config.hidden_size == factor * 32
    assert wide.config.num_hidden_layers == 2
    assert wide.get_input_embeddings().weight.shape[1] == factor * 32


def test_noise_makes_the_copies_of_a_unit_differ(tmp_path: Path) -> None:
    model = from_scratch(narrow(tmp_path))
    up = widen(model, 2).state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(up[:48], up[48:])
    assert torch.allclose(up[:48], up[48:], atol=0.02)


def test_an_unsupported_architecture_is_rejected_in_one_sentence() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16))
    with pytest.raises(UserError, match="types? llama and qwen2, not gpt2; set it to 1"):
        widen(model, 2)


def test_widening_and_random_initialization_are_mutually_exclusive(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="set it to 1 or remove scratch"):
        LearnerConfig(scratch=narrow(tmp_path), widen=2, epochs=1, batch_episodes=1)
