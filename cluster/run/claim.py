"""Which folders a run may take, and how a refused run gives its folder back."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import UserError

LOCK_NAME = ".lock"
LOGS_NAME = "logs"
START_FILES = frozenset(
    {"recipe.yaml", "manifest.json", "plan.json", "metrics.jsonl", "hints.parquet", LOCK_NAME}
    | {f"report.{kind}" for kind in ("json", "md", "html")}
)
"""Files that a run writes before its first episode, or from its episodes."""


def run_folder(path: str | Path) -> Path:
    """The absolute path of a run's folder. Raises `UserError` if ``path`` can be none."""
    try:
        if not str(path).strip() or "\0" in str(path):
            raise UserError(f"--run-dir {str(path)!r} is no path; give a folder, such as runs/mine.")
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"--run-dir {path}: {error} Give a path that does not begin with ~.") from error


def has_results(folder: Path) -> bool:
    """Whether a folder holds anything besides logs and what a run writes before its first episode."""
    for place, folders, files in os.walk(folder):
        is_top = Path(place) == folder
        if is_top and LOGS_NAME in folders:
            folders.remove(LOGS_NAME)
        if set(files) - (START_FILES if is_top else frozenset()):
            return True
    return False


def clear(folder: Path) -> None:
    """Delete what a run without results has written; the lock stays. `has_results` must be false."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_NAME:
            path.unlink()


def try_to_make(folder: Path) -> None:
    """Make a folder and remove it again. Raises `OSError` if it cannot be made, or not be written."""
    made = _make(folder)
    try:
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    finally:
        _remove_empty(made)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and its parents; if the block raises `UserError`, those that are empty then are removed again.

    Raises:
        OSError: it cannot be made; nothing is left then.
    """
    made = _make(folder)
    try:
        yield
    except UserError:
        _remove_empty(made)
        raise


def _make(folder: Path) -> list[Path]:
    """Make a folder. Returns what had to be made, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        _remove_empty(missing)
        raise
    return missing


def _remove_empty(folders: Iterable[Path]) -> None:
    for path in folders:
        if os.path.isdir(path) and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def given_back(folder: Path, is_new: bool) -> Iterator[None]:
    """If the block raises `UserError` and a new run has no results, delete what it wrote, the lock included."""
    try:
        yield
    except UserError:
        if is_new and not has_results(folder):
            clear(folder)
            # Still locked: a process that waits for nothing finds no lock, or makes one in a folder of its own.
            (folder / LOCK_NAME).unlink(missing_ok=True)
        raise
