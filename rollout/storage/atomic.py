"""Writes that are atomic: readers see the old content or the new one, never a part. A full disk is one sentence.

File modes follow the umask, also where a library creates its files for the owner only (safetensors).
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import UserError

_FULL_BELOW_BYTES = 2**20
"""Some writers raise without a reason; with less free space than this, the disk was full."""


@contextmanager
def atomic_write(target: Path, *, replace_folder: bool = False) -> Iterator[Path]:
    """A path beside ``target`` to write a file or folder to; it takes the target's place when the block succeeds.

    If the block fails, the target is unchanged and nothing else remains.

    Args:
        replace_folder: also take the place of a folder that is not empty. For an instant neither folder is there.

    Raises:
        UserError: no space is left.
        OSError: among others, the target is a folder that is not empty, and ``replace_folder`` is off.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        yield temporary
        _follow_umask(temporary)
        if replace_folder and target.is_dir():
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
    except BaseException as error:
        full = isinstance(error, Exception) and _is_full(error, target.parent)
        _remove(temporary)
        if full:
            raise UserError(
                f"No space is left for {target}: free some, or move the folder to a larger disk, then run the same "
                "command again; what was written before is kept."
            ) from error
        raise


def atomic_write_bytes(target: Path, content: bytes) -> None:
    """Replace a file; on disk when this returns. Raises `UserError` if no space is left."""
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def atomic_write_text(target: Path, text: str) -> None:
    """Replace a file by UTF-8 text; on disk when this returns. Raises `UserError` if no space is left."""
    atomic_write_bytes(target, text.encode("utf-8"))


def remove_leftovers(target: Path) -> None:
    """Delete what killed writers of a file or folder have left beside it. Nobody may be writing it."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.????????.tmp"):
        _remove(path)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on disk, so that new files and renames survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _follow_umask(path: Path) -> None:
    """Give files that were created for the owner only the mode that new files get here; also those in a folder."""
    files = [file for file in (path, *path.rglob("*")) if file.is_file() and not file.is_symlink()]
    private = [file for file in files if not file.stat().st_mode & 0o077]
    mode = _new_file_mode(path.parent) if private else 0
    for file in private:
        file.chmod(file.stat().st_mode | mode)


def _new_file_mode(folder: Path) -> int:
    """Mode of a new file. It is read from one, because reading the umask would change it for all threads."""
    probe = folder / f".{uuid.uuid4().hex[:8]}.tmp"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def _replace_folder(new: Path, target: Path) -> None:
    old = _beside(target)
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)


def _is_full(error: Exception, folder: Path) -> bool:
    reported = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    return reported or shutil.disk_usage(folder).free < _FULL_BELOW_BYTES


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
