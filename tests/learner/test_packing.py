"""Packed rows give the losses and gradients of rows of their own, and architectures that cannot be packed are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from learner.config import LearnerConfig
from learner.data.batching import collate
from learner.data.model_inputs import model_inputs
from learner.data.streams import to_sequence
from learner.losses.chunked import ChunkedLoss
from learner.losses.objective import term_coefficients
from learner.packing import PACKED, packed_attention, use_packing, why_not_packed
from learner.terms import CrossEntropyTerm, ForwardKLTerm, JSDTerm, Term, ULDTerm
from learner.weight_files import load_weights
from rollout.errors import UserError
from tests.learner.test_head import ARCHITECTURES, model_of
from tests.learner.toys import VOCABULARY, small_model, toy_model, toy_trajectory

TERMS: tuple[Term, ...] = (
    ForwardKLTerm(stream="act"),
    CrossEntropyTerm(stream="reason"),
    JSDTerm(stream="generated", reduction="span_mean"),
    ULDTerm(stream="reason"),
)
WINDOWED: dict[str, dict[str, Any]] = {
    "gemma2": {"attn_logit_softcapping": None},
    "gemma3_text": {},
    "mistral": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},
    "cohere2": {},
    "phi3": {},
}
EQUAL = ("llama", "qwen2", "qwen3", "gpt2", "opt", "gpt_neox", "cohere2", "granitemoe")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def windowed(kind: str, window: int) -> Any:
    """A two-layer model with a sliding window of ``window`` tokens in at least one layer."""
    settings = model_of(kind).config.to_dict()
    settings = {name: value for name, value in settings.items() if name not in ("model_type", "layer_types")}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**settings, "sliding_window": window, **WINDOWED[kind]})
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def loss_and_gradient(model: Any, packed: bool) -> tuple[list[float], torch.Tensor]:
    names = [term.weight_name for term in TERMS]
    sequences = [to_sequence(toy_trajectory(seed, turns=2 + seed, k=4), names) for seed in range(4)]
    batch = collate(sequences, names, packed=packed)
    model.zero_grad()
    device = torch.device("cpu")
    coefficients = term_coefficients(TERMS, batch.weights.sum(axis=1))
    loss, values = ChunkedLoss(model, TERMS)(model_inputs(batch, device), batch, coefficients)
    loss.backward()
    return values.tolist(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_packing_changes_nothing(model: Any) -> None:
    values, gradient = loss_and_gradient(model, packed=False)
    assert why_not_packed(model) == ""
    packed_values, packed_gradient = loss_and_gradient(model, packed=True)
    assert packed_values == pytest.approx(values, abs=1e-5)
    assert torch.allclose(packed_gradient, gradient, rtol=0.0, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("kind", EQUAL)
def test_losses_and_gradients_equal_those_of_rows_of_their_own(kind: str) -> None:
    model = model_of(kind)
    model.set_attn_implementation("sdpa")
    assert_packing_changes_nothing(model)


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_sliding_window_that_is_shorter_than_the_sequences_is_kept(kind: str) -> None:
    without = loss_and_gradient(windowed(kind, 512), packed=False)[0]
    model = windowed(kind, 16)
    assert loss_and_gradient(model, packed=False)[0] != pytest.approx(without, abs=1e-4)
    assert_packing_changes_nothing(model)


def test_a_cap_on_the_logits_of_attention_is_kept_and_its_rows_are_not_packed(tmp_path: Path) -> None:
    config = model_of("gemma2").config
    config.attn_logit_softcapping = 1e-3
    capped = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    capped.save_pretrained(tmp_path)
    loaded, ids = load_weights(str(tmp_path)), torch.arange(1, 20)[None]
    assert torch.allclose(loaded(ids).logits, capped.eval()(ids).logits, atol=1e-5)
    assert "cap the logits of their attention" in why_not_packed(loaded)


def test_recomputed_activations_and_adapters_can_be_packed() -> None:
    import peft

    model = toy_model(kv_heads=1)
    model.gradient_checkpointing_enable()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    assert_packing_changes_nothing(adapted)


@pytest.mark.parametrize("kind", sorted(set(ARCHITECTURES) - {"falcon_h1", "gemma2"}))
def test_these_architectures_are_packed(kind: str) -> None:
    model = small_model(kind) if kind in ("gpt2", "opt") else model_of(kind)
    model.set_attn_implementation("sdpa")
    assert why_not_packed(model) == ""
    assert model.config._attn_implementation == PACKED


def foreign(kind: str, **settings: Any) -> Any:
    widths = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, intermediate_size=48, **{**widths, **settings})
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("mamba", {}, "another attention function"),
        ("bloom", {}, "another attention function"),
        ("falcon", {"alibi": True}, "another attention function"),
        ("falcon_h1", {"mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16}, "another attention function"),
        ("lfm2", {"layer_types": ["conv", "full_attention", "conv"]}, "layers of type conv"),
        ("recurrent_gemma", {}, "influence each other"),
    ],
)
def test_architectures_that_cannot_be_packed_are_found_and_stay_as_they_were(
    kind: str, settings: dict[str, Any], reason: str
) -> None:
    """State-space layers, convolutions over tokens and position biases."""
    model = foreign(kind, **settings)
    before = model.config._attn_implementation
    assert reason in why_not_packed(model)
    assert model.config._attn_implementation == before


def test_the_setting_forces_packed_or_padded_rows() -> None:
    def config(packing: str) -> LearnerConfig:
        return LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1, "packing": packing})

    assert use_packing(config("padded"), toy_model()) == (False, "")
    assert use_packing(config("packed"), toy_model()) == (True, "")
    assert use_packing(config("auto"), foreign("mamba"))[0] is False
    with pytest.raises(UserError, match="set learner.packing to auto or padded"):
        use_packing(config("packed"), foreign("mamba"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("window", [None, 3])
def test_the_attention_function_equals_a_masked_softmax(device: str, window: int | None) -> None:
    """With a GPU in half precision this is the varlen kernel; grouped queries, and a window of 3 tokens."""
    lengths, dtype = (5, 2, 9), torch.float32 if device == "cpu" else torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 16, 8, generator=generator).to(device, dtype) for heads in (4, 2, 2))
    module = torch.nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]
    inputs = {name: value for name, value in packed_arguments(lengths, device).items() if name != "position_ids"}
    output, _ = packed_attention(module, query, key, value, None, scaling=0.5, sliding_window=window, **inputs)
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    distance = torch.arange(16)[:, None] - torch.arange(16)[None, :]
    visible = (owner[:, None] == owner[None, :]) & (distance >= 0) & (distance < (window or 99))
    scores = 0.5 * query.float() @ key.float().repeat_interleave(2, dim=1).transpose(2, 3)
    weights = scores.masked_fill(~visible.to(device), -torch.inf).softmax(dim=-1)
    expected = (weights @ value.float().repeat_interleave(2, dim=1)).transpose(1, 2)
    assert torch.allclose(output.float(), expected, atol=1e-5 if device == "cpu" else 2e-2)


def packed_arguments(lengths: tuple[int, ...], device: str) -> dict[str, Any]:
    from learner.data.model_inputs import packed_inputs

    return packed_inputs(lengths, torch.device(device))
