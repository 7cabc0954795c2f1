"""Small files of hub models: the tokenizer, the chat template and the configurations."""

from __future__ import annotations

from pathlib import Path

PATTERNS = ("tokenizer*", "*.jinja", "generation_config.json", "config.json", "special_tokens_map.json", "*vocab*")


def hub_folder(name: str, *, download: bool) -> Path | None:
    """The folder in the local cache that has the tokenizer and the configurations of a hub model.

    Args:
        download: whether to get them from the hub if they are not there.

    Returns:
        None if they cannot be had.
    """
    from huggingface_hub import snapshot_download

    for only_local in (True, False) if download else (True,):
        try:
            folder = Path(snapshot_download(name, allow_patterns=list(PATTERNS), local_files_only=only_local))
        except (OSError, ValueError):  # not cached, offline, no such model, no access: the worker that loads it says so
            continue
        if (folder / "tokenizer_config.json").is_file():
            return folder
    return None
