"""The head gives the logits of the model itself, whatever it does after the projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2ForCausalLM

from learner.config import LoraConfig
from learner.head import Head, check_head, selected_states
from learner.losses.chunked import ChunkedLoss
from learner.losses.objective import objective, term_coefficients
from learner.model import _with_adapters, load_model
from learner.terms import CrossEntropyTerm, ForwardKLTerm
from rollout.errors import UserError
from tests.learner.losses.test_objective import batch_of
from tests.learner.toys import VOCABULARY, toy_model

TERMS = (ForwardKLTerm(stream="act"), CrossEntropyTerm(stream="reason"))
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {},
    "gpt2": {},
    "gpt_neox": {},
    "phi": {},
    "phi3": {},
    "olmo2": {},
    "opt": {"ffn_dim": 48},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 4.0},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 0.5},
    "gemma3_text": {"head_dim": 16, "final_logit_softcapping": 0.5},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"logits_scaling": 8.0, "num_local_experts": 2},
    "nanochat": {"final_logit_softcapping": 0.5},
    "falcon_h1": {"lm_head_multiplier": 3.0, "mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16},
}


def model_of(kind: str) -> Any:
    """A two-layer model without dropout whose head scales or caps its logits, if the architecture does that."""
    torch.manual_seed(0)
    widths = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    sizes = {"intermediate_size": 48, "max_position_embeddings": 512, "vocab_size": VOCABULARY}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    dropout = dict.fromkeys(("dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    settings = {**widths, **sizes, **tokens, **dropout, **ARCHITECTURES[kind]}
    config = AutoConfig.for_model(kind, **settings)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def selected_logits(model: Any, ids_BL: torch.Tensor, positions_N: torch.Tensor) -> torch.Tensor:
    states_NH, output = selected_states(model, {"input_ids": ids_BL}, positions_N)
    return Head(model, output)(states_NH)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_loss_and_gradient_equal_those_of_the_models_own_logits(kind: str) -> None:
    model, batch = model_of(kind), batch_of(TERMS, range(2))
    check_head(model)
    ids, at = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.positions)
    coefficients = term_coefficients(TERMS, batch.weights.sum(axis=1))
    results = []
    for chunked in (False, True):
        model.zero_grad()
        if chunked:
            loss, _ = ChunkedLoss(model, TERMS, max_chunk_rows=7)({"input_ids": ids}, batch, coefficients)
        else:
            logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)[at]
            loss, _ = objective(logits, batch, TERMS, coefficients)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((loss.detach(), gradient))
    (dense_loss, dense_gradient), (loss, gradient) = results
    assert torch.allclose(dense_loss, loss, rtol=1e-5)
    assert torch.allclose(dense_gradient, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["cohere", "gemma2", "granite"])
def test_the_projection_alone_would_give_other_logits(kind: str) -> None:
    model, ids = model_of(kind), torch.arange(16)[None]
    hidden = model.get_decoder()(input_ids=ids)[0]
    assert not torch.allclose(
        model.get_output_embeddings()(hidden)[0], selected_logits(model, ids, torch.arange(16)), atol=1e-3
    )


def test_adapters_and_training_mode_are_kept() -> None:
    model = _with_adapters(model_of("cohere"), LoraConfig(rank=2)).train()
    check_head(model)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


class _Fading(Qwen2ForCausalLM):
    """Scales the logits by their position."""

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        output = super().forward(*arguments, **keywords)
        output.logits = output.logits * torch.arange(1, output.logits.shape[1] + 1)[None, :, None]
        return output


def test_a_model_whose_logits_depend_on_the_position_is_refused() -> None:
    with pytest.raises(UserError, match=r"models of type 'qwen2'.*choose another student model"):
        check_head(_Fading(toy_model().config))


def test_a_cap_on_the_logits_of_attention_is_kept(tmp_path: Path) -> None:
    config = model_of("gemma2").config
    config.attn_logit_softcapping = 1e-3
    capped = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    capped.save_pretrained(tmp_path)
    ids = torch.arange(1, 20)[None]
    assert torch.allclose(load_model(str(tmp_path))(ids).logits, capped(ids).logits, atol=1e-5)
