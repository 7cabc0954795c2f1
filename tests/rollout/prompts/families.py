"""Tokenizers and chat templates in the manner of well-known model families, with tiny vocabularies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import printable
from typing import Any

from rollout.models import model_folder

_HEAD = "{% for m in messages %}"
_TAIL = "{% endfor %}{% if add_generation_prompt %}"
_NO_SYSTEM = _HEAD + "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
CHATML = (
    f"{_HEAD}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}<|im_end|>\n{_TAIL}<|im_start|>assistant\n{{% endif %}}"
)
_LLAMA_3 = (
    "<|begin_of_text|>"
    + _HEAD
    + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
    + _TAIL
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_LLAMA_2 = (
    _NO_SYSTEM + "{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} {% endif %}"
)
_MISTRAL = (
    "<s>" + _NO_SYSTEM + "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}"
    "{% endfor %}"
)
_GEMMA = (
    "<bos>" + _NO_SYSTEM + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}"
    f"<end_of_turn>\n{_TAIL}<start_of_turn>model\n{{% endif %}}"
)
_PHI = f"{_HEAD}<|{{{{ m.role }}}}|>\n{{{{ m.content }}}}<|end|>\n{_TAIL}<|assistant|>\n{{% endif %}}"
_GLM = f"[gMASK]<sop>{_HEAD}<|{{{{ m.role }}}}|>\n{{{{ m.content }}}}{_TAIL}<|assistant|>\n{{% endif %}}"
_GPT_OSS = (
    f"{_HEAD}<|start|>{{{{ m.role }}}}{{% if m.role == 'assistant' %}}<|channel|>final{{% endif %}}<|message|>"
    f"{{{{ m.content }}}}<|end|>{_TAIL}<|start|>assistant<|channel|>final<|message|>{{% endif %}}"
)
_DEEPSEEK = (
    "<|begin|>" + _HEAD + "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<|User|>{{ m.content }}"
    f"{{% else %}}{{{{ m.content }}}}<|end|>{{% endif %}}{_TAIL}<|Assistant|>{{% endif %}}"
).replace("{{ m.content }}<|end|>", "<|Assistant|>{{ m.content }}<|end|>")


def _byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return backend


def _byte_fallback(*, prepends: bool) -> Any:
    """As converted from SentencePiece; ``prepends`` a space to every text, as Llama 2 does."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    entries = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *printable]
    vocabulary = {text: number for number, text in enumerate(entries)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "\u2581")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), spaces] if prepends else [spaces])
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if prepends else parts)
    return backend


def _llama_2() -> Any:
    return _byte_fallback(prepends=True)


def _gemma() -> Any:
    return _byte_fallback(prepends=False)


# Name: (tokenizer, chat template, end token, end of turn, special tokens)
FAMILIES: dict[str, tuple[Callable[[], Any], str | None, str, str, str]] = {
    "qwen-instruct": (_byte_level, CHATML, "<|im_end|>", "<|im_end|>", "<|im_start|> <|im_end|> <|endoftext|>"),
    "qwen-base": (_byte_level, CHATML, "<|endoftext|>", "<|im_end|>", "<|im_start|> <|im_end|> <|endoftext|>"),
    "llama-3": (
        _byte_level,
        _LLAMA_3,
        "<|eot_id|>",
        "<|eot_id|>",
        "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>",
    ),
    "llama-2": (_llama_2, _LLAMA_2, "</s>", "</s>", "<s> </s>"),
    "mistral": (_gemma, _MISTRAL, "</s>", "</s>", "<s> </s> [INST] [/INST]"),
    "gemma": (_gemma, _GEMMA, "<eos>", "<end_of_turn>", "<bos> <eos> <start_of_turn> <end_of_turn>"),
    "gpt-2": (_byte_level, None, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"),
    "phi": (_byte_level, _PHI, "<|endoftext|>", "<|end|>", "<|system|> <|user|> <|assistant|> <|end|> <|endoftext|>"),
    "glm": (
        _byte_level,
        _GLM,
        "<|endoftext|>",
        "<|user|>",
        "[gMASK] <sop> <|user|> <|assistant|> <|endoftext|>",
    ),
    "gpt-oss": (_byte_level, _GPT_OSS, "<|return|>", "<|end|>", "<|start|> <|channel|> <|message|> <|end|> <|return|>"),
    "deepseek": (_byte_level, _DEEPSEEK, "<|end|>", "<|end|>", "<|begin|> <|User|> <|Assistant|> <|end|>"),
}
SHIPPED = "builtin:household-tokenizer"
"""The word-level tokenizer of a shipped tiny model."""


def save_family(name: str, folder: Path) -> str:
    """Write the tokenizer of a family; returns its folder."""
    if name == SHIPPED:
        return str(model_folder(name))
    make, template, end, _, special = FAMILIES[name]
    backend = make()
    backend.add_special_tokens(special.split())
    backend.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": end, "chat_template": template, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v}))
    return str(folder)
