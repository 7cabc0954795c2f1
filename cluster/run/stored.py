"""Episodes of a step in its store, as columns: the memory does not grow with their number, but for a byte each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rollout.trajectory.arrow import KEY_COLUMNS
from rollout.trajectory.store import TrajectoryStore

Places = NDArray[np.int64]
"""Numbers of the episodes of a step in the order of its requests, from 0."""
MERGED_ROWS = 2**14


@dataclass(frozen=True)
class StepKeys:
    """The keys of a step's episodes: all tasks once, then all tasks again, ..."""

    role: str
    round: int
    tasks: Sequence[str]
    attempts: int

    def __len__(self) -> int:
        return len(self.tasks) * self.attempts

    @cached_property
    def _tasks(self) -> pa.Array:
        return pa.array(self.tasks, pa.string())

    def places(self, keys: pa.Table) -> Places:
        """The place of each key in a table with `KEY_COLUMNS`; -1 for one that is not of the step."""
        numbers = pc.fill_null(pc.index_in(keys["task"], value_set=self._tasks), -1).to_numpy().astype(np.int64)
        attempts = keys["attempt"].to_numpy()
        is_of_step = pc.and_(pc.equal(keys["role"], self.role), pc.equal(keys["round"], self.round)).to_numpy()
        is_of_step &= (numbers >= 0) & (attempts >= 0) & (attempts < self.attempts)
        return np.where(is_of_step, attempts * len(self.tasks) + numbers, -1)

    def stored(self, store: str | PathLike[str]) -> NDArray[np.bool_]:
        """For each episode, whether it is in a store."""
        marked = np.zeros(len(self), np.bool_)
        for table in self._merged(TrajectoryStore(store, read_only=True).key_tables()):
            mark(marked, self.places(table))
        return marked

    def tables(self, store: str | PathLike[str], columns: Sequence[str]) -> Iterator[tuple[Places, pa.Table]]:
        """The episodes of the step in a store, each once; those of other weights or plans are left out.

        Args:
            columns: some of `SUMMARY_COLUMNS`.

        Yields:
            Places, and a table with one row for each.
        """
        seen = np.zeros(len(self), np.bool_)
        names = list(dict.fromkeys([*KEY_COLUMNS, *columns]))
        for table in self._merged(TrajectoryStore(store, read_only=True).repeated_tables(names)):
            rows, places = mark(seen, self.places(table))
            yield places, table.take(pa.array(rows))

    def _merged(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Merge small tables: each call of `places` takes a time that grows with the number of tasks."""
        waiting, num_rows = list[pa.Table](), 0
        for table in tables:
            waiting.append(table)
            num_rows += table.num_rows
            if num_rows >= max(MERGED_ROWS, len(self.tasks) // 8):
                yield pa.concat_tables(waiting)
                waiting, num_rows = [], 0
        if waiting:
            yield pa.concat_tables(waiting)


def return_freed_memory() -> None:
    """Have Arrow return what it frees: its own allocator keeps tens of MB for the threads that read shards."""
    pa.set_memory_pool(pa.system_memory_pool())


def mark(marked: NDArray[np.bool_], places: Places) -> tuple[Places, Places]:
    """Mark places that are not marked yet; -1 is none. Returns the row of each and the place itself, in order."""
    new, rows = np.unique(places, return_index=True)
    is_new = new >= 0
    is_new[is_new] = ~marked[new[is_new]]
    marked[new[is_new]] = True
    rows = np.sort(rows[is_new])
    return rows, places[rows]
