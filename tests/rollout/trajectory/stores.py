"""Helpers of the store's tests: small episodes, and files whose operations fail at a chosen point."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs

from rollout.trajectory import (
    Author,
    Identity,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    TopK,
    Trajectory,
)
from rollout.trajectory.store import TrajectoryStore


def episode(task: str = "a", attempt: int = 0, text: str = "go") -> Trajectory:
    teacher = TopK(((3, 4), (5,)), ((-0.1, -3.0), (-0.2,)), (0.05, 0.2))
    return Trajectory(
        Identity("run", "teacher", 0, task, attempt, "household", "train"),
        Policy("model", 0, "react"),
        Outcome(1.0, True, StopReason.SUCCESS),
        (
            Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 0, "You see a cabinet.", (1, 2)),
            Segment(Kind.ACT, Author.MODEL, 1, text, (3, 5), (-0.1, -0.2), teacher),
        ),
    )


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


class FaultyFiles(pafs.FSSpecHandler):
    """The local filesystem, which calls ``fault`` with the name of each operation before running it."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        super().__init__(fsspec.filesystem("file"))
        self._fault = fault

    def move(self, src: str, dest: str) -> None:
        self._fault("move")
        super().move(src, dest)

    def delete_file(self, path: str) -> None:
        self._fault("delete")
        super().delete_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self._fault("read")
        return super().open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        self._fault("open")
        return pa.PythonFile(FaultyFile(path, self._fault), mode="w")


class FaultyFile:
    def __init__(self, path: str, fault: Callable[[str], None]) -> None:
        self._file = io.FileIO(path, "w")
        self._fault = fault

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, content: bytes) -> int:
        self._file.write(content[: len(content) // 2])
        self._fault("write")
        return self._file.write(content[len(content) // 2 :])

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def faulty_store(folder: Path | str, fault: Callable[[str], None]) -> TrajectoryStore:
    return TrajectoryStore(folder, filesystem=pafs.PyFileSystem(FaultyFiles(fault)))


class DiesAt:
    """The ``last``-th operation and all later ones fail, as if the process had died."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, operation: str) -> None:
        if operation in {"open", "write", "move", "delete"}:
            self.left -= 1
            if self.left <= 0:
                raise OSError(errno.EIO, "the process died")
