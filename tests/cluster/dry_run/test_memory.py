"""Memory estimates agree with published parameter counts, figures computed by hand, and torch's saved tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cluster.dry_run.memory import (
    OVERHEAD_BYTES,
    adapter_parameters,
    cache_bytes_per_token,
    engine_memory,
    file_bytes,
    host_bytes,
    learner_memory,
    trained_parameters,
)
from cluster.dry_run.model_shapes import KNOWN_SHAPES, ModelShape, UnknownShapeError, scratch_shape, shape_of
from cluster.runtime.resources import GIB
from learner.config import LearnerConfig, LoraConfig, ScratchConfig
from learner.terms import CrossEntropyTerm, ForwardKLTerm
from rollout.engines.vllm_engine import VllmConfig
from rollout.errors import UserError

PUBLISHED = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "huggyllama/llama-7b": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "facebook/opt-1.3b": 1_315_758_080,
    "facebook/opt-6.7b": 6_658_473_984,
    "openai-community/gpt2": 124_439_808,
    "openai-community/gpt2-medium": 354_823_168,
    "openai-community/gpt2-large": 774_030_080,
    "openai-community/gpt2-xl": 1_557_611_200,
}
SMALL = {
    "qwen2": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 128},
    "qwen3": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 100, "max_position_embeddings": 128},
    "llama": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
              "vocab_size": 100, "max_position_embeddings": 128, "tie_word_embeddings": True},
    "mistral": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 128},
    "opt": {"hidden_size": 64, "word_embed_proj_dim": 64, "ffn_dim": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 128},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 128, "attn_pdrop": 0.0},
}  # fmt: skip
TINY = ModelShape("tiny", "gated", 1000, 64, 2, 4, 2, 16, 128, 512)
"""A layer has q, o of 64 x 64, k, v of 64 x 32, three matrices of 64 x 128: 36,864; with two norms 36,992."""
TINY_PARAMETERS = 1000 * 64 + 2 * 36_992 + 64


def learner(**settings: Any) -> LearnerConfig:
    return LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 8, **settings})


def parts(ranks: int = 1, shape: ModelShape = TINY, tokens: int = 100, **settings: Any) -> dict[str, int]:
    return learner_memory(shape, learner(**settings), ranks, micro_batch_tokens=tokens, trained_share=0.5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_models_have_their_published_number_of_parameters(name: str) -> None:
    assert KNOWN_SHAPES[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in SMALL),
        *((kind, {"tie_word_embeddings": tied}) for kind in SMALL for tied in (False, True)),
        *((kind, {"head_dim": 24}) for kind in ("llama", "mistral", "qwen3")),
        ("gpt2", {"n_inner": 80}),
    ],
)
def test_a_folders_configuration_has_as_many_parameters_as_the_transformers_model(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = AutoConfig.for_model(kind, **SMALL[kind] | settings)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_of(str(tmp_path)).parameters == sum(p.numel() for p in model.parameters())


def test_a_shipped_model_has_as_many_parameters_as_its_weight_file() -> None:
    assert shape_of("builtin:household-teacher").parameters == 2_370_624


def test_a_widened_model_has_wider_layers_and_the_same_number_of_them() -> None:
    base = shape_of("builtin:household-base-student")
    wide, teacher = base.widened(2), shape_of("builtin:household-teacher")
    assert (wide.hidden, wide.layers, wide.parameters) == (teacher.hidden, teacher.layers, teacher.parameters)
    assert base.widened(1) == base


def test_a_model_from_scratch_has_the_vocabulary_of_its_tokenizer() -> None:
    scratch = ScratchConfig(
        tokenizer="builtin:household-tokenizer", hidden_size=96, num_layers=5, num_heads=3, num_kv_heads=3,
        intermediate_size=256,
    )  # fmt: skip
    assert scratch_shape(scratch).parameters == shape_of("builtin:household-base-student").parameters


@pytest.mark.parametrize(
    ("model", "config", "words"),
    [
        ("org/unheard-of", None, "name the folder of a downloaded copy"),
        ("", {"model_type": "mamba"}, 'has the model type "mamba".*known are qwen2'),
        ("", {"model_type": "opt", "vocab_size": 10}, "lacks hidden_size, num_hidden_layers"),
        ("", [], "has the model type null"),
    ],
)
def test_an_unknown_shape_is_an_error_that_says_how_to_fix_it(
    model: str, config: object, words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UnknownShapeError, match=words):
        shape_of(model or str(tmp_path))


def test_a_missing_folder_is_not_reported_as_an_unknown_shape() -> None:
    with pytest.raises(UserError, match="does not exist") as caught:
        shape_of("./nowhere")
    assert not isinstance(caught.value, UnknownShapeError)


def test_the_cache_stores_keys_and_values_of_all_layers_and_splits_no_head() -> None:
    small, large = KNOWN_SHAPES["Qwen/Qwen2.5-0.5B"], KNOWN_SHAPES["Qwen/Qwen2.5-32B"]
    assert cache_bytes_per_token(small, 2) == 2 * 24 * (2 * 64) * 2
    assert cache_bytes_per_token(large, 2, devices=4) == 2 * 64 * (8 * 128) * 2 // 4
    assert cache_bytes_per_token(large, 2, devices=16) == cache_bytes_per_token(large, 2, devices=8)
    assert cache_bytes_per_token(KNOWN_SHAPES["openai-community/gpt2"], 2) == 2 * 12 * 768 * 2


def test_the_cache_of_an_engine_is_its_budget_minus_weights_and_workspace() -> None:
    shape, engine = KNOWN_SHAPES["Qwen/Qwen2.5-7B"], VllmConfig(model="x", gpu_memory_utilization=0.5)
    memory = engine_memory(shape, engine, 80 * GIB)
    assert memory.budget == 40 * GIB
    assert memory.weights == 2 * 7_615_616_512
    assert memory.cache == memory.budget - memory.weights - memory.workspace
    assert memory.cache_tokens == memory.cache // (2 * 28 * 512 * 2)
    assert memory.fits(32_768)
    assert not engine_memory(shape, engine, 30 * GIB).fits(1)


def test_weights_of_an_engine_depend_on_dtype_gpus_and_adapters() -> None:
    shape = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]

    def weights(**settings: Any) -> int:
        return engine_memory(shape, VllmConfig.model_validate({"model": "x", **settings}), 80 * GIB).weights

    assert weights(dtype="float32") == 2 * weights(dtype="bfloat16") == 2 * weights()
    assert weights(tensor_parallel_size=4) == weights() // 4
    assert weights(max_lora_rank=16) == weights() + 2 * adapter_parameters(shape, 16)


def test_on_a_cpu_the_cache_has_the_configured_size() -> None:
    memory = engine_memory(TINY, VllmConfig(model="x", kv_cache_gib=2.0), None)
    assert memory.cache == 2 * GIB


def test_adapter_parameters_are_counted_as_in_peft() -> None:
    # Two matrices of (896, 896), two of (896, 128), three of (896, 4864), in 24 layers.
    by_hand = 24 * 64 * (2 * (896 + 896) + 2 * (896 + 128) + 3 * (896 + 4864))
    assert adapter_parameters(KNOWN_SHAPES["Qwen/Qwen2.5-0.5B"], 64) == by_hand == 35_192_832


def test_full_training_needs_sixteen_bytes_per_parameter() -> None:
    found = parts()
    assert found["weights"] == found["gradients"] == 4 * TINY_PARAMETERS
    assert found["optimizer"] == 8 * TINY_PARAMETERS
    assert found["reserve"] == OVERHEAD_BYTES
    assert "gradient buckets" not in found


def test_muon_keeps_one_state_per_matrix_element() -> None:
    assert parts(optimizer="muon")["optimizer"] == 8 * TINY_PARAMETERS - 4 * 2 * 36_864
    gpt2 = KNOWN_SHAPES["openai-community/gpt2"]
    by_hand = 12 * 12 * 768 * 768  # in 12 layers 3 + 1 + 4 + 4 squares of the width
    assert parts(shape=gpt2, optimizer="muon")["optimizer"] == 8 * gpt2.parameters - 4 * by_hand


def test_with_adapters_only_they_have_gradients_and_optimizer_states() -> None:
    config = LoraConfig(rank=8)
    trained = trained_parameters(TINY, learner(lora=config))
    found = parts(lora=config)
    assert trained == 2 * 8 * (4 * 64 + 2 * (64 + 32) + 3 * (64 + 128))
    assert found["weights"] == 4 * (TINY_PARAMETERS + trained)
    assert (found["gradients"], found["optimizer"]) == (4 * trained, 8 * trained)


@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        ({"strategy": "ddp"}, ()),
        ({"strategy": "deepspeed", "zero_stage": 1}, ("optimizer",)),
        ({"strategy": "deepspeed", "zero_stage": 2}, ("gradients", "optimizer")),
        ({"strategy": "deepspeed", "zero_stage": 3}, ("weights", "gradients", "optimizer")),
        ({"strategy": "fsdp2"}, ("weights", "gradients", "optimizer")),
    ],
)
def test_a_strategy_shards_its_states_over_the_ranks(settings: dict[str, Any], cut: tuple[str, ...]) -> None:
    alone, four = parts(**settings), parts(ranks=4, **settings)
    for name in ("weights", "gradients", "optimizer"):
        assert four[name] == alone[name] // (4 if name in cut else 1)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"strategy": "fsdp2"}, set()),
        ({"strategy": "deepspeed", "zero_stage": 3}, set()),
        ({"strategy": "deepspeed", "zero_stage": 2}, {"weights"}),
        ({"strategy": "deepspeed", "zero_stage": 1}, {"weights", "gradients"}),
    ],
)
def test_offloaded_states_move_from_the_device_to_main_memory(settings: dict[str, Any], kept: set[str]) -> None:
    states = {"weights", "gradients", "optimizer"}
    before, after = parts(ranks=4, **settings), parts(ranks=4, cpu_offload=True, **settings)
    assert states & after.keys() == kept
    moved = sum(before[name] for name in states - kept)
    assert host_bytes(TINY, learner(cpu_offload=True, **settings), 4) == moved
    assert host_bytes(TINY, learner(**settings), 4) == 0


def test_one_process_under_fsdp2_offloads_nothing() -> None:
    assert parts(strategy="fsdp2", cpu_offload=True) == parts(strategy="fsdp2")


def test_frozen_matrices_in_four_bits_need_half_a_byte_and_their_scales() -> None:
    whole, quantized = (
        parts(precision="bfloat16", lora=LoraConfig(rank=8, quantize=kind))["weights"] for kind in (None, "nf4")
    )
    assert whole - quantized == pytest.approx((4 - 0.52) * 2 * 36_864, abs=1)
    assert "bfloat16 copies" not in parts(precision="bfloat16", lora=LoraConfig(rank=8, quantize="nf4"))


def test_files_are_mapped_and_only_models_that_are_made_need_main_memory() -> None:
    large = KNOWN_SHAPES["Qwen/Qwen2.5-32B"]
    assert file_bytes(large) == 2 * PUBLISHED["Qwen/Qwen2.5-32B-Instruct"]
    assert host_bytes(large, learner(model="m", strategy="fsdp2"), 8) == 0
    assert host_bytes(TINY, learner(model="m", widen=2), 1) == 4 * TINY_PARAMETERS
    assert host_bytes(TINY, learner(scratch={"tokenizer": "t"}), 1) == 4 * TINY_PARAMETERS


def test_autocast_copies_every_weight_unless_frozen_layers_are_recomputed() -> None:
    frozen = {"precision": "bfloat16", "lora": LoraConfig(rank=8)}
    assert "bfloat16 copies" not in parts()
    assert parts(precision="bfloat16", recompute_activations=True)["bfloat16 copies"] == 2 * TINY_PARAMETERS
    assert parts(**frozen)["bfloat16 copies"] == 2 * TINY_PARAMETERS
    assert parts(**frozen, recompute_activations=True)["bfloat16 copies"] == 2 * 36_992


def test_fsdp2_gathers_embeddings_and_two_layers_in_bfloat16_without_autocast_copies() -> None:
    gathered = 1000 * 64 + 2 * 36_992
    whole, half = (parts(ranks=2, strategy="fsdp2", precision=precision) for precision in ("float32", "bfloat16"))
    assert (whole["gathered layers"], half["gathered layers"]) == ((4 + 4) * gathered, (2 + 4) * gathered)
    assert "bfloat16 copies" not in half
    assert parts(strategy="fsdp2", precision="bfloat16")["bfloat16 copies"] == 2 * TINY_PARAMETERS  # one rank alone
    frozen = parts(ranks=2, strategy="fsdp2", precision="bfloat16", lora=LoraConfig(rank=8))
    assert frozen["gathered layers"] == 2 * gathered


def test_logits_count_for_trained_tokens_only_and_more_with_a_divergence() -> None:
    assert parts(terms=[CrossEntropyTerm(stream="act")])["logits"] == 50 * 1000 * 16
    assert parts(terms=[ForwardKLTerm(stream="act")])["logits"] == 50 * 1000 * 22


def test_logits_of_many_tokens_take_one_chunk_and_the_heads_gradient_is_counted() -> None:
    few, many, more = (parts(tokens=tokens, terms=[ForwardKLTerm(stream="act")]) for tokens in (100, 10**6, 10**7))
    assert few["logits"] < many["logits"] == more["logits"] < 1 << 30
    assert few["head gradient"] == 4 * 1000 * 64
    assert "head gradient" not in parts(lora=LoraConfig(rank=8))


def test_recomputation_keeps_one_layer_and_the_input_of_each() -> None:
    per_token = 32 * 64 + 16 * 128 + 8 * 32
    assert parts()["activations"] == 100 * 2 * per_token
    assert parts(recompute_activations=True)["activations"] == 100 * (2 * 64 * 4 + per_token)
    half = 20 * 64 + 8 * 128 + 4 * 32
    cut = parts(ranks=2, strategy="fsdp2", precision="bfloat16", recompute_activations=True)
    assert cut["activations"] == 100 * (2 * 64 * 2 + half)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "opt", "gpt2"])
@pytest.mark.parametrize(("precision", "strategy"), [("float32", "ddp"), ("bfloat16", "ddp"), ("bfloat16", "fsdp2")])
def test_activations_match_the_tensors_that_torch_saves_for_the_backward_pass(
    kind: str, precision: Literal["float32", "bfloat16"], strategy: str, tmp_path: Path
) -> None:
    """Autocast casts each matrix and its input to bfloat16; with FSDP2 weights and all values are bfloat16."""
    rows, columns = 2, 128
    config = AutoConfig.for_model(kind, **SMALL[kind])
    config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    autocast = precision == "bfloat16" and strategy == "ddp"
    dtype = torch.bfloat16 if precision == "bfloat16" and strategy == "fsdp2" else torch.float32
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(rows, columns, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model.get_decoder()(input_ids=tokens, use_cache=False)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    found = learner_memory(shape, learner(precision=precision, strategy=strategy), 2, rows * columns, 0.0)
    copies = 2 * shape.layers * shape.layer_matrix_parameters if autocast else 0
    assert found["activations"] == pytest.approx(measured - copies, rel=0.15)
