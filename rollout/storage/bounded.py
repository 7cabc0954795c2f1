"""Opens data files of others, plain or compressed, with a limit on what a compressed file expands to."""

from __future__ import annotations

import bz2
import gzip
import io
from pathlib import Path
from typing import IO, Any, cast

from rollout.errors import UserError

MAX_TEXT_BYTES = 2 << 30
"""Largest content, and largest line, that is read into memory at once."""
MAX_EXPANSION = 50
"""A compressed file may expand to this multiple of its size; text compresses to a fifth or a tenth."""
ALWAYS_ALLOWED_BYTES = 32 << 20
"""A compressed file may always expand to this size."""

_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2"}


def expansion_limit(path: Path) -> int:
    """Number of bytes that a compressed file may expand to."""
    return max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * path.stat().st_size)


def expands_too_far(path: Path) -> UserError:
    """The error about a file that exceeds `expansion_limit`."""
    return UserError(
        f"{path} expands to more than {expansion_limit(path) >> 20} MiB, over {MAX_EXPANSION} times its size, which no "
        "data set does; download it again, or unpack it yourself if you trust it"
    )


def compression_of(path: Path) -> str:
    """``.gz`` or ``.bz2`` by the first bytes of a file, else by its name; the empty string for a plain file."""
    with path.open("rb") as file:
        head = file.read(3)
    named = path.suffix if path.suffix in _MAGIC.values() else ""
    return next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), named)


def open_bounded(path: Path) -> IO[bytes]:
    """Open a file to read its content, decompressed.

    Reading raises `UserError` beyond `expansion_limit`, and `OSError`, `EOFError` or `zlib.error` for a damaged file.
    """
    compression = compression_of(path)
    if not compression:
        return path.open("rb")
    unpacked = gzip.GzipFile(path) if compression == ".gz" else bz2.BZ2File(path)
    return io.BufferedReader(_Bounded(cast(IO[bytes], unpacked), path), 1 << 16)


class _Bounded(io.RawIOBase):
    """Counts the bytes of a decompressed file while they are read."""

    def __init__(self, source: IO[bytes], path: Path) -> None:
        self._source = source
        self._path = path
        self._left = expansion_limit(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise expands_too_far(self._path)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()
