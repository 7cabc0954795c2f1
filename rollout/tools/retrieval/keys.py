"""A memory-mapped table from text keys to row numbers, for millions of keys without Python objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

_HASHES, _ROWS = "hashes", "rows"


def key_hash(key: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class KeyTable:
    """Sorted hashes with their rows; equal hashes are sorted by row.

    Attributes:
        hashes: [num_rows] uint64, ascending.
        rows: [num_rows] int64.
    """

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def from_hashes(cls, hashes: array[int]) -> KeyTable:
        """Create a table in which row ``i`` has the hash ``hashes[i]``."""
        values = np.array(hashes, dtype=np.uint64)
        order = np.argsort(values, kind="stable")
        return cls(values[order], order.astype(np.int64))

    def find(self, key: str) -> list[int]:
        """Rows whose key has the same hash, ascending; rarely, these include rows with other keys."""
        wanted = np.uint64(key_hash(key))
        start = int(np.searchsorted(self.hashes, wanted, side="left"))
        end = int(np.searchsorted(self.hashes, wanted, side="right"))
        return [int(row) for row in self.rows[start:end]]

    def duplicates(self) -> Iterable[tuple[int, int]]:
        """Yield pairs of rows with equal hashes."""
        for i in np.flatnonzero(self.hashes[1:] == self.hashes[:-1]):
            yield int(self.rows[i]), int(self.rows[i + 1])

    def save(self, folder: Path, name: str) -> None:
        np.save(folder / f"{name}.{_HASHES}.npy", self.hashes)
        np.save(folder / f"{name}.{_ROWS}.npy", self.rows)

    @classmethod
    def load(cls, folder: Path, name: str) -> KeyTable:
        """Open a table, memory-mapped and read-only."""
        hashes = np.load(folder / f"{name}.{_HASHES}.npy", mmap_mode="r", allow_pickle=False)
        return cls(hashes, np.load(folder / f"{name}.{_ROWS}.npy", mmap_mode="r", allow_pickle=False))
