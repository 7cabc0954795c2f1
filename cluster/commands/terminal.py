"""Standard streams that accept every text, and messages for what the system refuses."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN = {"≤": "<=", "≥": ">=", "–": "-", "—": "-", "−": "-", "·": "-", "×": "x", "…": "...", "→": "->", "’": "'"}
"""What stands for a character that the terminal's encoding lacks; others are written as escapes."""
SYSTEM_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR", "EEXIST", "ENOSPC", "EDQUOT"),
        *("EIO", "EFBIG", "EMFILE", "ENFILE", "ESTALE", "ENODEV", "ENXIO", "ETXTBSY", "EBUSY"),
    )
)
"""Errors of files that say something about this machine, not about our code."""
ERROR_HANDLER = "stillhouse.plain"


def replace_plainly(error: UnicodeError) -> tuple[str, int]:
    """Error handler of codecs: similar ASCII characters, else escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


codecs.register_error(ERROR_HANDLER, replace_plainly)


@contextmanager
def lenient_output() -> Iterator[None]:
    """Make the standard streams accept every text, and end quietly if their reader has gone (``| head``).

    Raises:
        OSError: what was written could not be stored, as on a full disk.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when the process started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERROR_HANDLER)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            flush(stream)


def flush(stream: object) -> None:
    """Flush a standard stream; one whose reader has gone is connected to the null device."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except OSError as error:
        with open(os.devnull, "w", encoding="utf-8") as null:  # the interpreter flushes once more
            os.dup2(null.fileno(), stream.fileno())  # type: ignore[attr-defined]
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise


def system_sentence(error: OSError, longest: int = 200) -> str | None:
    """One sentence about a file that the system refuses; None for an error that is none of `SYSTEM_ERRORS`."""
    if error.errno not in SYSTEM_ERRORS:
        return None
    name = "" if error.filename is None else str(error.filename)
    shown = name if len(name) <= longest else f"{name[:longest]}…"
    reason = (error.strerror or str(error)).lower()
    if not shown:
        return f"the output cannot be written ({reason}); write it elsewhere."
    return f"{shown} cannot be used ({reason}); correct the path, or free what is missing."
