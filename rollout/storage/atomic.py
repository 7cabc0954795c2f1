"""What training writes is there whole or not at all, and a full disk is told in a sentence."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import UserError

_FULL_BELOW_BYTES = 2**20
"""Some writers only say that they failed; with less than this left it was for want of space."""


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write a file or folder to; it takes the target's place when the block ends well.

    If the block fails, nothing of it stays.

    Raises:
        UserError: no space is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
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


def _is_full(error: Exception, folder: Path) -> bool:
    said = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    return said or shutil.disk_usage(folder).free < _FULL_BELOW_BYTES


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
