"""The tiny models shipped with packages, a real one prepared on this machine, and the folders of model names."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from rollout.errors import UserError
from rollout.storage.cache import cache_folder

BUILTIN_PREFIX = "builtin:"
SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, which `rollout.models.smollm2` writes to the cache."""
_HERE = Path(__file__).parent
_IN_PACKAGE = re.compile(r"(?P<package>[A-Za-z]\w+):(?P<folder>.+)")


def builtin_models() -> list[str]:
    """Names of the shipped models, including the prefix ``builtin:``."""
    return [BUILTIN_PREFIX + folder.name for folder in sorted(_HERE.iterdir()) if (folder / "config.json").exists()]


def smollm2_folder() -> Path:
    """The folder of ``smollm2``; it exists once the model has been prepared."""
    return cache_folder("models") / "smollm2-135m-instruct"


def model_folder(name: str) -> str:
    """Resolve ``builtin:NAME``, ``PACKAGE:FOLDER`` or ``smollm2``; folders and hub names are returned unchanged.

    ``PACKAGE:FOLDER`` is a folder inside an installed Python package, which is not imported.

    Raises:
        UserError: there is no such built-in model, package or folder, or ``smollm2`` has not been prepared.
    """
    if name == SMOLLM2:
        if not (smollm2_folder() / "config.json").is_file():
            raise UserError(f"the model {name} is not in {smollm2_folder()}; run `make real-model`, which prepares it")
        return str(smollm2_folder())
    if name.startswith(BUILTIN_PREFIX):
        folder = _HERE / name.removeprefix(BUILTIN_PREFIX)
        if not folder.is_dir():
            raise UserError(f"there is no built-in model {name!r}; choose one of {', '.join(builtin_models())}")
        return str(folder)
    if inside := _IN_PACKAGE.fullmatch(name):
        return _folder_in_package(inside["package"], inside["folder"])
    looks_like_path = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if looks_like_path:
        raise UserError(f"the model folder {name} does not exist; correct the path or use the name of a hub model")
    return name


def _folder_in_package(package: str, folder: str) -> str:
    spec = find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / folder).is_dir():
            return str(Path(place) / folder)
    found = "has no such folder" if spec else "is not installed"
    raise UserError(
        f"the model {package}:{folder} does not exist because the package {package} {found}; "
        "correct the name or install it"
    )
