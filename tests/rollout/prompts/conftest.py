"""Fixtures: parsed text as (kind, text) pairs, and a tokenizer that adds spaces."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from string import printable

import pytest

from rollout.prompts.style import Style
from rollout.trajectory import Kind

Cut = Callable[[Style, str], list[tuple[Kind, str]]]


@pytest.fixture(scope="session")
def cut() -> Cut:
    """(kind, text) of each run of one kind in a parsed text."""

    def parts(style: Style, text: str) -> list[tuple[Kind, str]]:
        kinds: list[Kind] = []
        for kind, end in style.parse(text).spans:
            kinds += [kind] * (end - len(kinds))
        runs = groupby(zip(kinds, text, strict=True), lambda pair: pair[0])
        return [(kind, "".join(character for _, character in run)) for kind, run in runs]

    return parts


@pytest.fixture(scope="session")
def llama_2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tokenizer like Llama 2's: it prepends a space to every text, and falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    folder = tmp_path_factory.mktemp("llama-2")
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *printable]
    vocabulary = {text: number for number, text in enumerate(entries)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    as_text = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(as_text)
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return str(folder)
