"""Checks that a model has a row for each token id of its tokenizer, from the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.dry_run.findings import Finding
from rollout.models import model_folder


def row_findings(setting: str, model: str) -> Iterator[Finding]:
    """A finding if the tokenizer in a model's folder has ids beyond the rows of its embedding."""
    folder = Path(model_folder(model))
    rows, largest = embedding_rows(folder), largest_id(folder)
    if rows is not None and largest is not None and largest >= rows:
        yield Finding(
            f"{setting}: the tokenizer of {model} has token ids up to {largest:,}, but the model has {rows:,} rows; "
            "resize its embeddings (model.resize_token_embeddings), or use the tokenizer that it was trained with",
            fatal=True,
        )


def embedding_rows(folder: Path) -> int | None:
    """Rows of the embedding by ``config.json``, also of a text model inside of a larger one; None if not known."""
    config = _read(folder / "config.json")
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return rows if isinstance(rows, int) else None


def largest_id(folder: Path) -> int | None:
    """The largest token id of ``tokenizer.json``, added tokens included; None if there is none."""
    tokenizer = _read(folder / "tokenizer.json")
    entries = (tokenizer.get("model") or {}).get("vocab") or {}
    ids = list(entries.values()) if isinstance(entries, dict) else list(range(len(entries)))
    return max([*ids, *(token["id"] for token in tokenizer.get("added_tokens") or [])], default=None)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged, which is reported when the model is loaded."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
