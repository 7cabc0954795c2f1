"""The tiny models that come with the package, and how a model's name becomes a folder."""

from __future__ import annotations

from pathlib import Path

from rollout.errors import UserError

BUILTIN_PREFIX = "builtin:"
_HERE = Path(__file__).parent


def builtin_models() -> list[str]:
    """Names of the shipped models, ``builtin:`` included."""
    return [BUILTIN_PREFIX + folder.name for folder in sorted(_HERE.iterdir()) if (folder / "config.json").exists()]


def model_folder(name: str) -> str:
    """Turn ``builtin:NAME`` into its folder; a folder or a Hugging Face hub name stays as it is.

    Raises:
        UserError: no such built-in, or a path that does not exist.
    """
    if name.startswith(BUILTIN_PREFIX):
        folder = _HERE / name.removeprefix(BUILTIN_PREFIX)
        if not folder.is_dir():
            raise UserError(f"there is no built-in model {name!r}; choose one of {', '.join(builtin_models())}")
        return str(folder)
    looks_like_path = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if looks_like_path:
        raise UserError(f"the model folder {name} does not exist; correct the path, or name a model of the hub")
    return name
