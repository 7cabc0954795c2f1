"""The ``stillhouse`` command: checks that Python finds our own packages, then starts `cluster.cli`.

``cluster``, ``rollout``, ``learner`` and ``evaluation`` are common names. Another distribution can overwrite one of
them, and a folder earlier on Python's path can hide one. This module has a name of its own and imports none of the four
before the check, so it also works when ``cluster`` itself is hidden.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

PACKAGES = ("cluster", "rollout", "learner", "evaluation")
HOME = Path(__file__).resolve().parent
"""Where our packages are: ``site-packages``, or the checkout."""
OWN_ENVIRONMENT = "install Stillhouse in an environment of its own"


class PackageConflictError(ImportError):
    """Python finds another package, or another package's file, under one of our names."""


def main() -> None:
    """Run the command. Exits with code 2 if one of our packages is hidden or overwritten."""
    try:
        check_packages()
        from cluster.cli import main as run
    except PackageConflictError as error:
        print(f"stillhouse: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    run()


@cache
def check_packages() -> None:
    """Raise `PackageConflictError` unless our four packages are found beside this file, as they were installed."""
    for name in PACKAGES:
        found = find_package(name)
        if found != HOME / name:
            raise PackageConflictError(hidden_message(name, found))
    changed = changed_modules(HOME)
    if changed:
        raise PackageConflictError(changed_message(changed[0]))


def find_package(name: str) -> Path | None:
    """The folder or file that ``import name`` would load; it is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    return Path(places[0]).resolve() if places else None


def changed_modules(home: Path) -> list[str]:
    """Modules in our installed packages that differ from the wheel's record: changed, added or missing.

    A checkout has no record, so nothing is reported there.
    """
    records = sorted(home.glob("stillhouse-*.dist-info/RECORD"), key=lambda path: path.stat().st_mtime)
    if not records:
        return []
    with records[-1].open(encoding="utf-8", newline="") as file:
        rows = {path: digest for path, digest, _ in csv.reader(file)}
    recorded = {path: rows[path] for path in rows if path.endswith(".py") and path.split("/")[0] in PACKAGES}
    present = {
        path.relative_to(home).as_posix(): file_digest(path)
        for name in PACKAGES
        for path in (home / name).rglob("*.py")
    }
    return sorted(path for path in recorded | present if recorded.get(path) != present.get(path))


def file_digest(path: Path) -> str:
    """The digest of a file as a wheel's record writes it."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def other_owner(module: str, home: Path) -> str:
    """Name and version of another distribution in ``home`` that installs this file; empty if there is none."""
    from importlib.metadata import distributions

    for distribution in distributions(path=[str(home)]):
        lines = (distribution.read_text("RECORD") or "").splitlines()
        if distribution.name != "stillhouse" and any(line.startswith(f"{module},") for line in lines):
            return f"{distribution.name} {distribution.version}"
    return ""


def hidden_message(name: str, found: Path | None) -> str:
    """What to say about a package that is not found beside this file."""
    if found is None:
        return f"its package '{name}' is missing in {HOME}; reinstall stillhouse."
    owner = other_owner(f"{name}/__init__.py", found.parent)
    return (
        f"its package '{name}' is hidden by {found}{f' of {owner}' if owner else ''}, which Python finds before "
        f"{HOME / name}. Remove {found.parent} from PYTHONPATH or run in another folder; if that is not possible, "
        f"{OWN_ENVIRONMENT}."
    )


def changed_message(module: str) -> str:
    """What to say about a module that is not as it was installed."""
    owner = other_owner(module, HOME)
    cause = f"{owner} installs a file of that name" if owner else "something changed, added or deleted it"
    return (
        f"{HOME / module} is not as Stillhouse installed it: {cause}. To keep both, {OWN_ENVIRONMENT}; to repair this "
        f"one, run {f'`pip uninstall {owner.split()[0]}` and then ' if owner else ''}"
        "`pip install --force-reinstall --no-deps stillhouse`."
    )


if __name__ == "__main__":
    main()
