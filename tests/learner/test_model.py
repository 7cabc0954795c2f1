"""A saved model loads with transformers with equal logits, and the initial model is chosen as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from learner.config import LearnerConfig, LoraConfig, ScratchConfig
from learner.model import _with_adapters, decoder_layers, from_scratch, make_model, save_model, starting_point
from rollout.errors import UserError
from tests.learner.toys import VOCABULARY, toy_model, toy_tokenizer

IDS = torch.arange(2, 30).reshape(2, 14)


def scratch(tokenizer: str, **changes: object) -> ScratchConfig:
    small = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 48}
    return ScratchConfig.model_validate({"tokenizer": tokenizer, **small, **changes})


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("tie", [True, False])
def test_a_saved_model_loads_with_equal_logits(tmp_path: Path, family: str, tie: bool) -> None:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    model = from_scratch(scratch(tokenizer, family=family, tie_embeddings=tie)).eval()
    save_model(model, model.state_dict().items(), tokenizer, str(tmp_path / "saved"), torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    assert torch.equal(model(IDS).logits, loaded(IDS).logits)
    assert loaded.config.vocab_size == VOCABULARY
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").get_vocab()["w3"] == 5


def test_a_saved_folder_has_the_files_that_vllm_reads_and_no_temporary_files_remain(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    model = from_scratch(scratch(tokenizer))
    save_model(model, model.state_dict().items(), tokenizer, str(tmp_path / "out" / "saved"), torch.bfloat16)
    names = {path.name for path in (tmp_path / "out" / "saved").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["saved"]
    config = json.loads((tmp_path / "out" / "saved" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert config["eos_token_id"] == 1


def test_random_initialization_depends_on_the_seed_only(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")

    def weights(seed: int) -> torch.Tensor:
        config = LearnerConfig(scratch=scratch(tokenizer), epochs=1, batch_episodes=1, seed=seed)
        return make_model(config, None)[0].state_dict()["model.layers.0.mlp.up_proj.weight"]

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_new_adapters_keep_the_logits_and_train_few_parameters(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    base = from_scratch(scratch(tokenizer)).eval()
    save_model(base, base.state_dict().items(), tokenizer, str(tmp_path / "base"), torch.float32)
    config = LearnerConfig(model=str(tmp_path / "base"), lora=LoraConfig(rank=2), epochs=1, batch_episodes=1)
    model, source = make_model(config, None)
    assert source == str(tmp_path / "base")
    assert torch.allclose(model.eval()(IDS).logits, base(IDS).logits, atol=1e-6)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < trained < sum(p.numel() for p in base.parameters()) / 3


def test_adapters_of_a_folder_are_trained_further(tmp_path: Path) -> None:
    """A round starts from the adapters of the round before, not from new ones."""
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    base = from_scratch(scratch(tokenizer))
    save_model(base, base.state_dict().items(), tokenizer, str(tmp_path / "base"), torch.bfloat16)
    config = LearnerConfig(model=str(tmp_path / "base"), lora=LoraConfig(rank=2), epochs=1, batch_episodes=1)
    first = make_model(config, None)[0].eval()
    for name, parameter in first.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    save_model(first, first.state_dict().items(), tokenizer, str(tmp_path / "adapters"), torch.float32)
    second, source = make_model(config, str(tmp_path / "adapters"))
    assert source == str(tmp_path / "adapters")
    assert torch.equal(second.eval()(IDS).logits, first(IDS).logits)
    trained = {name for name, parameter in second.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in first.named_parameters() if parameter.requires_grad}
    with pytest.raises(UserError, match="holds adapters, not a model; set learner.lora"):
        make_model(config.model_copy(update={"lora": None}), str(tmp_path / "adapters"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"base_model_name_or_path": null}'])
def test_adapters_that_name_no_model_are_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    config = LearnerConfig(model=str(tmp_path), lora=LoraConfig(rank=2), epochs=1, batch_episodes=1)
    with pytest.raises(UserError, match=r"adapter_config\.json does not name the model that its adapters adapt"):
        make_model(config, None)


def test_the_callers_base_model_overrides_the_configured_one() -> None:
    named = LearnerConfig(model="named", epochs=1, batch_episodes=1)
    new = LearnerConfig(scratch=scratch("words"), epochs=1, batch_episodes=1)
    starts = [starting_point(config, base) for config in (named, new) for base in ("checkpoint", None)]
    assert starts == ["checkpoint", "named", "checkpoint", "words"]


def test_a_folder_without_a_model_is_named_in_the_error(tmp_path: Path) -> None:
    config = LearnerConfig(model=str(tmp_path), epochs=1, batch_episodes=1)
    with pytest.raises(UserError, match=tmp_path.name):
        make_model(config, None)


def test_without_an_initial_model_the_error_says_what_to_set() -> None:
    with pytest.raises(UserError, match=r"learner\.model or learner\.scratch"):
        make_model(LearnerConfig(epochs=1, batch_episodes=1), None)


def test_activations_are_recomputed_for_every_kind_of_initial_model(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer(tmp_path / "tokenizer")
    base = from_scratch(scratch(tokenizer))
    save_model(base, base.state_dict().items(), tokenizer, str(tmp_path / "base"), torch.float32)
    starts: dict[str, dict[str, Any]] = {
        "scratch": {"scratch": scratch(tokenizer)},
        "loaded": {"model": str(tmp_path / "base")},
        "widened": {"model": str(tmp_path / "base"), "widen": 2},
        "adapters": {"model": str(tmp_path / "base"), "lora": LoraConfig(rank=2)},
    }
    for name, start in starts.items():
        gradients = []
        for recompute in (False, True):
            config = LearnerConfig(**start, recompute_activations=recompute, epochs=1, batch_episodes=1)
            model = make_model(config, None)[0].train()
            calls: list[int] = []
            decoder_layers(model)[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
            model(IDS).logits.square().mean().backward()
            assert len(calls) == (2 if recompute else 1), name
            gradients.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
        assert gradients[0]
        for key, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][key], gradient, msg=f"{name} {key}")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("q_proj", "c_attn"), "names c_attn, which this qwen2 model does not have; choose from .*down_proj.*q_proj"),
        (("proj",), "names proj, which"),
        (r".*\.query", r"names \.\*\\\.query, which"),
    ],
)
def test_adapters_for_layers_that_the_model_lacks_are_refused(targets: str | tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _with_adapters(toy_model(), LoraConfig(target_modules=targets))


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("self_attn.q_proj",), r".*\.q_proj", "all-linear"])
def test_adapters_are_added_to_the_named_layers(targets: str | tuple[str, ...]) -> None:
    model = _with_adapters(toy_model(), LoraConfig(target_modules=targets, rank=2))
    assert any("q_proj.lora_A" in name for name, _ in model.named_parameters())


def test_a_router_loss_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size": 16, "vocab_size": VOCABULARY}
    for asked in (False, True):
        architecture = AutoConfig.for_model("mixtral", **sizes, **experts, output_router_logits=asked)
        AutoModelForCausalLM.from_config(architecture).save_pretrained(tmp_path / str(asked))
    make_model(LearnerConfig(model=str(tmp_path / "False"), epochs=1, batch_episodes=1), None)
    with pytest.raises(UserError, match="mixtral model asks for the load-balancing loss.*set output_router_logits"):
        make_model(LearnerConfig(model=str(tmp_path / "True"), epochs=1, batch_episodes=1), None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_weights_in_four_bits_need_a_gpu() -> None:
    config = LearnerConfig(model="any", lora=LoraConfig(quantize="nf4"), epochs=1, batch_episodes=1)
    with pytest.raises(UserError, match=r"learner\.lora\.quantize needs an NVIDIA GPU"):
        make_model(config, None)
