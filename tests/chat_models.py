"""Tiny models with a byte-level tokenizer, a chat template, BOS, EOS and generation_config of one's choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|bos|>", "<|pad|>")
END_OF_TEXT, _, IM_END, _, PAD = range(len(MARKERS))
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OTHER = CHATML.replace("m.role + '\n'", "m.role + ':\n'").replace("assistant\n", "assistant:\n")


def save_tokenizer(
    folder: Path,
    template: str | None = CHATML,
    *,
    eos: str = "<|im_end|>",
    bos: str | None = None,
    pad: str | None = None,
) -> str:
    """Write the tokenizer to a folder; returns the folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*MARKERS, *letters])}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(marker, special=True) for marker in MARKERS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=eos, bos_token=bos, pad_token=pad, chat_template=template
    )
    tokenizer.save_pretrained(str(folder))
    return str(folder)


def ending_model(end: int = IM_END) -> Any:
    """A GPT-2 that always predicts the token ``end``."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=320,
            n_embd=64,
            n_layer=1,
            n_head=2,
            n_positions=512,
            bos_token_id=None,
            eos_token_id=END_OF_TEXT,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[end] = 1.0
    return model


def save_model(folder: Path, template: str | None = CHATML, *, stops: list[int] | None = None, **tokens: Any) -> str:
    """Write a model with its tokenizer; ``stops`` is ``eos_token_id`` of its generation_config.json."""
    model = ending_model()
    model.save_pretrained(str(folder))
    save_tokenizer(folder, template, **tokens)
    if stops is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    return str(folder)
