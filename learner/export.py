"""Makes a saved model stop by itself and be prompted as it was trained, in plain transformers and vLLM.

They read the tokens that end generation from generation_config.json and config.json, the chat template from
chat_template.jinja, and the end and padding tokens from tokenizer_config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainedFormat:
    """The chat format that a model is trained in.

    Attributes:
        chat_template: Jinja source that renders the prompts of the training data.
        end_of_turn: text of the token that ends the model's turn.
    """

    chat_template: str
    end_of_turn: str


def export_format(folder: Path, tokenizer: Any, trained: TrainedFormat | None) -> None:
    """Write the format into the files of a model folder or adapter folder that has its tokenizer's files already.

    Tokens that ended generation before still do. Without a padding token, the model's former end token becomes it.

    Args:
        tokenizer: the transformers tokenizer whose files are in the folder.
        trained: None keeps the chat template and end token of the tokenizer.
    """
    end = trained.end_of_turn if trained else tokenizer.eos_token
    if end is None:
        return
    padding = tokenizer.pad_token or tokenizer.eos_token or end
    tokens = {"eos_token": str(end), "pad_token": str(padding)}
    _update(folder / "tokenizer_config.json", tokens, must_exist=False)
    _update(folder / "special_tokens_map.json", tokens)
    if trained:
        _write_template(folder, trained.chat_template)
    before = [_read(folder / name).get("eos_token_id") for name in ("generation_config.json", "config.json")]
    stops = _stop_ids(tokenizer.convert_tokens_to_ids(end), *before, tokenizer.eos_token_id)
    ids = {
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": tokenizer.convert_tokens_to_ids(padding),
    }
    _update(folder / "generation_config.json", ids, must_exist=False)
    _update(folder / "config.json", ids)


def _stop_ids(end: int, *others: int | list[int] | None) -> list[int]:
    """The end of turn, then the other ids, each once."""
    found = [end]
    for other in others:
        found += [] if other is None else [other] if isinstance(other, int) else other
    return list(dict.fromkeys(found))


def _write_template(folder: Path, template: str) -> None:
    """Write the only chat template of a folder."""
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = _read(folder / "tokenizer_config.json")
    settings.pop("chat_template", None)
    _write(folder / "tokenizer_config.json", settings)


def _update(file: Path, changes: Mapping[str, Any], *, must_exist: bool = True) -> None:
    """Change settings of a JSON file, which is left alone if it does not exist but should."""
    if file.is_file() or not must_exist:
        _write(file, _read(file) | dict(changes))


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _write(file: Path, settings: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
