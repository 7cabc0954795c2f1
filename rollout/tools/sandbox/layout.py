"""The file tree inside the sandbox: this Python, the configured packages and the C libraries."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import UserError

CODE_PATH = "/sandbox"
"""Path of the sandbox's own modules inside."""
_PACKAGES_PATH = "/packages"
PYTHON_PATH = "/python"
"""Path of the interpreter and its library inside, if they are not in /usr outside."""
_INSIDE = Path(__file__).parent / "inside"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Layout:
    """The file tree of a sandbox.

    Attributes:
        binds: (path outside, path inside), all read-only.
        links: (target, path inside) symbolic links.
        devices: paths, the same outside and inside, that can be written.
        empty: folders inside that are hidden by empty ones.
        python: the interpreter's path inside.
        packages: folder of the packages inside.
    """

    binds: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    empty: tuple[str, ...]
    python: str
    packages: str


def layout(packages: Sequence[str]) -> Layout:
    """The file tree with these distributions. Raises `UserError` if one is not installed."""
    python, prefix = os.path.realpath(getattr(sys, "_base_executable", sys.executable)), sys.base_prefix
    stdlib = sysconfig.get_path("stdlib", vars={"installed_base": prefix})
    found = [path for path in _LIBRARIES if os.path.exists(path)]
    binds = [(path, path) for path in found if not os.path.islink(path)]
    links = [(os.readlink(path), path) for path in found if os.path.islink(path)]
    empty: list[str] = []
    if prefix != "/usr":
        # Outside /usr it may be in a user's home, whose name must not be visible inside.
        binds += [(os.path.realpath(f"{prefix}/lib"), f"{PYTHON_PATH}/lib"), (python, f"{PYTHON_PATH}/bin/python")]
        empty = [f"{PYTHON_PATH}/{os.path.relpath(stdlib, prefix)}/site-packages"]
        python = f"{PYTHON_PATH}/bin/python"
    else:
        binds.append((python, python))
    binds.append((str(_INSIDE), f"{CODE_PATH}/rollout/tools/sandbox/inside"))
    # While the tree is built, the outside is at another path, where absolute links lead nowhere.
    binds += [(os.path.realpath(path), f"{_PACKAGES_PATH}/{path.name}") for path in package_paths(packages)]
    devices = ("/proc", "/dev/null", "/dev/zero", "/dev/urandom")
    return Layout(tuple(binds), tuple(links), devices, tuple(empty), python, _PACKAGES_PATH)


def readable_paths(packages: Sequence[str]) -> list[str]:
    """The same content by its outside paths, for the tier without namespaces."""
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *_LIBRARIES]
    paths += [f"{sys.base_prefix}/lib", "/dev/urandom", *(str(path) for path in package_paths(packages))]
    return sorted({path for path in paths if os.path.exists(path)})


def package_folders(packages: Sequence[str]) -> list[str]:
    """Folders of the packages outside."""
    return sorted({str(path.parent) for path in package_paths(packages)})


def package_paths(packages: Sequence[str]) -> list[Path]:
    """Files and folders of the distributions and their requirements.

    Raises:
        UserError: one of them is not installed.
    """
    found: dict[Path, None] = {}
    seen: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if (key := re.sub(r"[-_.]+", "-", name).lower()) in seen:
            continue
        seen.add(key)
        distribution = _distribution(name)
        found.update(dict.fromkeys(_top_level(distribution)))
        waiting += _requirements(distribution)
    return sorted(found)


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the sandbox's package {name!r} is not installed; run `pip install {name}` or remove it from packages"
        ) from None


def _top_level(distribution: importlib.metadata.Distribution) -> Iterator[Path]:
    tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    return (path for top in tops if (path := Path(str(distribution.locate_file(top)))).exists())


def _requirements(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    for text in distribution.requires or []:
        name = _REQUIREMENT.match(text)
        if name and ";" not in text:
            yield name.group()
