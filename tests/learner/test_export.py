"""A saved model stops by itself and is prompted as it was trained, in plain transformers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from learner.config import LoraConfig
from learner.export import TrainedFormat
from learner.model import _with_adapters, save_model
from tests.chat_models import CHATML, END_OF_TEXT, IM_END, OTHER, PAD, ending_model, save_tokenizer

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
TRAINED = TrainedFormat(CHATML, "<|im_end|>")


def exported(folder: Path, tokenizer: str, trained: TrainedFormat | None = TRAINED, model: Any = None) -> Path:
    model = model or ending_model()
    save_model(model, model.state_dict().items(), tokenizer, str(folder / "saved"), torch.float32, trained)
    return folder / "saved"


def settings(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


@pytest.fixture
def base_tokenizer(tmp_path: Path) -> str:
    """The tokenizer of a base model: another end token, another template and no padding."""
    return save_tokenizer(tmp_path / "base", OTHER, eos="<|endoftext|>")


def test_a_saved_model_stops_at_the_end_of_its_turn(tmp_path: Path, base_tokenizer: str) -> None:
    folder = exported(tmp_path, base_tokenizer)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=9, do_sample=False)
    assert output[0].tolist() == [*prompt["input_ids"][0].tolist(), IM_END]


def test_the_former_end_tokens_still_end_generation(tmp_path: Path, base_tokenizer: str) -> None:
    model = ending_model()
    model.generation_config.eos_token_id = [END_OF_TEXT, 7]
    folder = exported(tmp_path, base_tokenizer, model=model)
    for name in ("config.json", "generation_config.json"):
        assert settings(folder / name)["eos_token_id"] == [IM_END, END_OF_TEXT, 7]
    assert AutoModelForCausalLM.from_pretrained(folder).config.eos_token_id == [IM_END, END_OF_TEXT, 7]


def test_a_saved_model_is_prompted_with_the_trained_template_only(tmp_path: Path, base_tokenizer: str) -> None:
    folder = exported(tmp_path, base_tokenizer)
    assert (folder / "chat_template.jinja").read_text() == CHATML
    assert "chat_template" not in settings(folder / "tokenizer_config.json")
    rendered = AutoTokenizer.from_pretrained(folder).apply_chat_template(MESSAGES, tokenize=False)
    assert rendered == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGo on.<|im_end|>\n"


def test_a_template_in_tokenizer_config_is_replaced_as_well(tmp_path: Path, base_tokenizer: str) -> None:
    file = Path(base_tokenizer) / "tokenizer_config.json"
    file.write_text(json.dumps({**settings(file), "chat_template": OTHER}))
    (Path(base_tokenizer) / "chat_template.jinja").unlink()
    assert AutoTokenizer.from_pretrained(exported(tmp_path, base_tokenizer)).chat_template == CHATML


@pytest.mark.parametrize(
    ("eos", "pad", "padding"),
    [("<|endoftext|>", None, END_OF_TEXT), ("<|im_end|>", None, IM_END), ("<|endoftext|>", "<|pad|>", PAD)],
)
def test_end_and_padding_agree_in_all_files(tmp_path: Path, eos: str, pad: str | None, padding: int) -> None:
    folder = exported(tmp_path, save_tokenizer(tmp_path / "base", OTHER, eos=eos, pad=pad))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (IM_END, padding)
    assert GenerationConfig.from_pretrained(folder).pad_token_id == padding
    assert settings(folder / "config.json")["pad_token_id"] == padding


def test_an_old_file_of_special_tokens_does_not_contradict(tmp_path: Path, base_tokenizer: str) -> None:
    old = {"eos_token": {"content": "<|endoftext|>", "lstrip": False}, "bos_token": "<|bos|>"}
    (Path(base_tokenizer) / "special_tokens_map.json").write_text(json.dumps(old))
    folder = exported(tmp_path, base_tokenizer)
    assert settings(folder / "special_tokens_map.json") == {
        "eos_token": "<|im_end|>",
        "bos_token": "<|bos|>",
        "pad_token": "<|endoftext|>",
    }


def test_adapters_are_exported_with_the_same_format(tmp_path: Path, base_tokenizer: str) -> None:
    model = _with_adapters(ending_model(), LoraConfig(rank=2))
    save_model(model, model.state_dict().items(), base_tokenizer, str(tmp_path / "saved"), torch.float32, TRAINED)
    folder = tmp_path / "saved"
    assert not (folder / "config.json").exists()
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [IM_END, END_OF_TEXT]
    assert AutoTokenizer.from_pretrained(folder).chat_template == CHATML


def test_without_a_format_the_tokenizer_s_own_is_kept(tmp_path: Path, base_tokenizer: str) -> None:
    folder = exported(tmp_path, base_tokenizer, trained=None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.eos_token, tokenizer.pad_token_id) == (
        OTHER,
        "<|endoftext|>",
        END_OF_TEXT,
    )
    assert settings(folder / "generation_config.json")["eos_token_id"] == END_OF_TEXT


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_the_modes_of_all_files_follow_the_umask(tmp_path: Path, base_tokenizer: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = exported(tmp_path, base_tokenizer)
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)
    assert "model.safetensors" in modes
