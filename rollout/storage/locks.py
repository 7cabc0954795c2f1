"""File locks between processes, on this machine and on shared file systems that support ``flock``.

The kernel releases a lock when its process dies, however it dies. The lock file stays: deleting it would let two
processes lock two files of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rollout.errors import UserError

BUILD_TIMEOUT_S = 24 * 3600.0
"""The longest wait for another process that builds the same index."""


class LockHeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: id of that process, as it wrote it down; ``unknown`` if it has not yet.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"process {holder} holds {path}")
        self.holder = holder


@contextmanager
def lock_file(path: Path, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``path`` for the block. Not reentrant: a second block of the same process waits as well.

    Args:
        timeout_s: how long to wait for another holder.

    Raises:
        LockHeldError: another holder kept it for ``timeout_s``.
        OSError: the file cannot be written, or its file system has no locks.
    """
    # A block may end in another thread than it began in (a generator that is closed elsewhere), so the lock belongs to
    # the process. The library's substitute for file systems without flock would outlive a killed process.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise LockHeldError(path, path.read_text(encoding="utf-8").strip() or "unknown") from None
    try:
        path.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def build_lock(target: Path, timeout_s: float = BUILD_TIMEOUT_S) -> Iterator[None]:
    """Keep other processes from building ``target`` at the same time, by a lock file ``.NAME.lock`` beside it.

    Raises:
        UserError: another process has been building it for ``timeout_s``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(target.with_name(f".{target.name}.lock"), timeout_s))
        except LockHeldError as error:
            raise UserError(
                f"process {error.holder} has been building {target} for {timeout_s / 3600:.3g} hours; stop it, "
                "and run the same command again"
            ) from None
        yield


def build_once(target: Path, is_current: Callable[[], bool], build: Callable[[], object]) -> None:
    """Call ``build`` unless ``target`` is current; of several processes, one builds and the others wait for it.

    Raises:
        UserError: another process has been building it for too long.
    """
    if not is_current():
        with build_lock(target):
            if not is_current():  # another process may have built it in the meantime
                build()
