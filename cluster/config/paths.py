"""Settings of a recipe that name files or folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster.config.recipe import Recipe
from rollout.errors import UserError

DATA_KEYS = frozenset({"data", "data_dir", "corpus", "index_dir", "bank", "also"})
MODEL_KEYS = frozenset({"model", "tokenizer", "teacher_tokenizer", "encoder"})
"""Settings that name a folder, a shipped model or a model of a hub."""
OWN_CORPORA = frozenset({"own", "pooled"})
"""Values of ``corpus`` that stand for passages of the tasks themselves."""
_ELSEWHERE = re.compile(r"[A-Za-z][\w+.-]*:.+|[/~].*", re.DOTALL)
"""URLs, ``builtin:NAME``, ``PACKAGE:FOLDER``, absolute paths and paths below a home."""


def path_settings(settings: object, path: str = "", key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (setting, path) for each path in settings that is relative to the current folder."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from path_settings(value, f"{path}.{name}" if path else str(name), str(name))
    elif isinstance(settings, str):
        if is_relative_path(key, settings):
            yield path, settings
    elif isinstance(settings, Sequence):
        for number, value in enumerate(settings):
            yield from path_settings(value, f"{path}.{number}", key)


def is_relative_path(key: str, value: str) -> bool:
    """Whether the value of a setting is a path that is relative to the current folder."""
    if not value or "\n" in value or len(value) > 4096 or _ELSEWHERE.fullmatch(value):
        return False
    if value.startswith(("./", "../")):
        return True
    if key in DATA_KEYS:
        return value not in OWN_CORPORA
    if key in MODEL_KEYS:
        return value.count("/") > 1 or os.path.isdir(value)
    return "/" in value and os.path.exists(value)


def refuse_relative_paths(recipe: Recipe, run_dir: str) -> None:
    """Raise `UserError` if a recipe that is sent to a cluster names a path in the current folder of this machine."""
    settings = {**recipe.model_dump(mode="json"), "description": ""}
    found = list(path_settings(settings))
    if not _ELSEWHERE.fullmatch(run_dir):
        found.append(("--run-dir", run_dir))
    if not found:
        return
    setting, value = found[0]
    more = "".join(f"; the same holds for {name}={path}" for name, path in found[1:])
    raise UserError(
        f"{setting} is the relative path {value}, but a job starts in a folder of its own; give the absolute path on "
        f"the cluster, such as {Path(value).absolute()} if it is the same there{more}."
    )
