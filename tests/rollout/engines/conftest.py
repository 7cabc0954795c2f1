"""A toy tokenizer and two checkpoints of a toy model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

OPINIONS = {"do_sample": True, "temperature": 0.3, "top_k": 20, "repetition_penalty": 1.5}
"""Sampling parameters in the ``generation_config.json`` of the models, which engines must not apply."""


def save_tokenizer(folder: Path) -> None:
    """Save a byte-level tokenizer: five special tokens, then one token per byte."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*MARKERS, *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(marker, special=True) for marker in MARKERS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def save_model(folder: Path, *, seed: int, hidden_size: int = 64) -> str:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=320,
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=1,
        intermediate_size=128,
        max_position_embeddings=512,
        tie_word_embeddings=True,  # as in small models
        initializer_range=0.2,  # far from uniform, so that greedy choices do not depend on rounding
        eos_token_id=3,
        pad_token_id=4,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    model.generation_config.update(**OPINIONS)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return str(folder)


@pytest.fixture(scope="session")
def first_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("first"), seed=1)


@pytest.fixture(scope="session")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the same shape as the first, with other weights."""
    return save_model(tmp_path_factory.mktemp("second"), seed=2)


@pytest.fixture(scope="session")
def wider_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("wider"), seed=1, hidden_size=96)


@pytest.fixture(scope="session")
def tokenizer_only(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return str(folder)


@pytest.fixture(scope="session")
def adapter(first_model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A LoRA adapter of the first model, and the model with the adapter merged."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder, merged = tmp_path_factory.mktemp("adapter"), tmp_path_factory.mktemp("merged")
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(first_model, dtype="float32")
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # initialized with zeros, which would change nothing
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    model.merge_and_unload().save_pretrained(merged)
    save_tokenizer(merged)
    return str(folder), str(merged)
