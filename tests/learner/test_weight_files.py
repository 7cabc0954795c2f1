"""Model folders are loaded as they are, written in several files, and refused if they are incomplete or another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from learner.weight_files import load_weights, stored_dtype, write_weights
from rollout.errors import UserError
from tests.learner.toys import toy_model

IDS = torch.arange(2, 30).reshape(2, 14)


def empty(model: Any) -> Any:
    with torch.device("meta"):
        same = type(model)(model.config)
    same.tie_weights()
    return same


def written(model: Any, folder: Path, max_file_bytes: int = 10_000) -> Path:
    write_weights(empty(model), model.state_dict().items(), folder, torch.float32, max_file_bytes)
    return folder


def test_several_files_have_an_index_and_load_with_equal_logits(tmp_path: Path) -> None:
    model = toy_model().eval()
    folder = written(model, tmp_path / "parts")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
    assert {name for file in files for name in load_file(folder / file)} == index["weight_map"].keys()
    assert all(name in load_file(folder / file) for name, file in index["weight_map"].items())
    assert "lm_head.weight" not in index["weight_map"]  # it is the embeddings
    assert {path.name for path in folder.iterdir()} == {
        *files, "model.safetensors.index.json", "config.json", "generation_config.json"
    }  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_a_layer_is_never_divided_between_files(tmp_path: Path) -> None:
    folder = written(toy_model(), tmp_path, max_file_bytes=1)
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for layer in ("model.layers.0.", "model.layers.1."):
        assert len({file for name, file in places.items() if name.startswith(layer)}) == 1
    assert len(set(places.values())) == 4


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe"])
def test_a_mixture_of_experts_is_written_with_the_names_of_its_original_files(tmp_path: Path, kind: str) -> None:
    """transformers fuses the experts of a layer when it loads them."""
    torch.manual_seed(0)
    widths = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    experts = {"num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    sizes = {"vocab_size": 64, "intermediate_size": 48, "shared_expert_intermediate_size": 16}
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **widths, **experts, **sizes)).eval()
    model.save_pretrained(tmp_path / "whole")
    folder = written(model, tmp_path / "parts", max_file_bytes=1)
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    parts = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_keep_the_precision_of_their_files_whatever_the_configuration_says(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = toy_model().to(dtype)
    model.save_pretrained(tmp_path)
    other = {torch.bfloat16: "float32", torch.float32: "bfloat16"}[dtype]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": other}))
    loaded = load_weights(str(tmp_path))
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    assert torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_files_of_several_precisions_are_loaded_in_float32(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    assert stored_dtype(tmp_path) is torch.float32
    assert stored_dtype(tmp_path / "nothing") is None


def test_pickled_weights_are_read_as_tensors_only(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Callable[[str], Path], tuple[str]]:
            return Path.touch, (tmp_path / "harm",)  # type: ignore[return-value]

    toy_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert load_weights(str(tmp_path)).num_parameters() == toy_model().num_parameters()
    torch.save({**state, "more": Harmful()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="contain more than tensors.*convert them to safetensors"):
        load_weights(str(tmp_path))
    assert not (tmp_path / "harm").exists()


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def without(folder: Path, name: str) -> None:
    file = folder / "model.safetensors"
    save_file({key: tensor for key, tensor in load_file(file).items() if key != name}, file, {"format": "pt"})


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-99]),
        "a weight file of .* is damaged or incomplete .*; copy or download it again",
    ),
    "not weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"damaged"), "is damaged or incomplete"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "name a complete Hugging Face model folder"),
    "a missing tensor": (
        lambda folder: without(folder, "model.norm.weight"),
        "1 are missing, such as model.norm.weight; they are incomplete or those of another model",
    ),
    "wider": (lambda folder: change_config(folder, intermediate_size=64), "6 have another shape, such as .*down_proj"),
    "deeper": (
        lambda folder: change_config(folder, num_hidden_layers=3, layer_types=None),
        "12 are missing, such as model.layers.2",
    ),
    "shallower": (
        lambda folder: change_config(folder, num_hidden_layers=1, layer_types=None),
        "12 belong to layers that it does not have, such as model.layers.1",
    ),
    "a contradiction": (lambda folder: change_config(folder, num_hidden_layers=3), "contradicts itself .*layer_types"),
    "another architecture": (lambda folder: change_config(folder, model_type="gpt2"), "do not fit its config.json"),
    "an unknown architecture": (lambda folder: change_config(folder, model_type="none"), "no model could be loaded"),
    "no configuration": (lambda folder: (folder / "config.json").write_text("{"), "no model could be loaded"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_or_that_of_another_model_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    toy_model().save_pretrained(tmp_path)
    change, words = DAMAGES[damage]
    change(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        load_weights(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_that_lacks_one_of_its_files_is_refused(tmp_path: Path) -> None:
    (written(toy_model(), tmp_path) / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="model-00002-of-00003.safetensors"):
        load_weights(str(tmp_path))
