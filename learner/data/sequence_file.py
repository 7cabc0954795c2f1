"""Training sequences in a temporary file: one Arrow record batch each, read by index.

Small training sets stay in memory. Larger ones are on disk, in a file without a name, which disappears with the process
even if it is killed.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from learner.data.streams import TeacherScores, TrainingSequence
from rollout.errors import UserError

IN_MEMORY_BYTES = 64 * 2**20
"""Compressed size up to which the sequences stay in memory."""
# Threads take ten times as long for arrays of this size.
_WRITE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ = pa.ipc.IpcReadOptions(use_threads=False)
_TEACHER = {
    "positions": pa.int32(),
    "sizes": pa.int32(),
    "token_ids": pa.int32(),
    "logprobs": pa.float32(),
    "tail_mass": pa.float32(),
}
_COUNTS = ("reason_tokens", "act_tokens", "truncated_tokens", "truncated_trained_tokens")


class SequenceFile(Sequence[TrainingSequence]):
    """Sequences of one training set. `append` all of them, then `finish`, then read them by index.

    Only ``len`` and the file's index are in memory: 24 bytes a sequence.

    Args:
        weight_names: names of the weights that every sequence has.
        folder: where the file is created once it is too large for memory; None is the system's temporary folder.
    """

    def __init__(self, weight_names: Sequence[str], folder: Path | None = None) -> None:
        self._weight_names = tuple(weight_names)
        self._folder = folder
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=None if folder is None else str(folder))  # noqa: SIM115  # open while self is
        weakref.finalize(self, self._file.close)
        weights = [(f"weights/{name}", pa.list_(pa.float32())) for name in self._weight_names]
        teacher = [(f"teacher/{name}", pa.list_(type_)) for name, type_ in _TEACHER.items()]
        counts = [(name, pa.list_(pa.int32())) for name in _COUNTS]
        self._schema = pa.schema([("token_ids", pa.list_(pa.int32())), *weights, *teacher, *counts])
        self._writer: Any = pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._schema, options=_WRITE)
        self._reader: Any = None
        self._lock = Lock()
        self._hash = hashlib.sha256(repr(self._weight_names).encode())

    def append(self, sequence: TrainingSequence) -> None:
        """Write one sequence. Raises `UserError` if the disk is full."""
        teacher = sequence.teacher
        arrays: list[NDArray[Any] | None] = [
            sequence.token_ids,
            *(sequence.weights[name] for name in self._weight_names),
            *(None if teacher is None else getattr(teacher, name).reshape(-1) for name in _TEACHER),
            *(np.array([getattr(sequence, name)], np.int32) for name in _COUNTS),
        ]
        for array in arrays:
            self._hash.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        columns = [_one_list(array, field.type) for array, field in zip(arrays, self._schema, strict=True)]
        self._checked(self._writer.write_batch, pa.record_batch(columns, schema=self._schema))

    def finish(self) -> None:
        """End writing. Raises `UserError` if the disk is full."""
        self._checked(self._writer.close)
        self._reader = pa.ipc.open_file(pa.PythonFile(self._file, "r"), options=_READ)

    @property
    def digest(self) -> str:
        """SHA-256 of the token ids, weights and teacher scores of all sequences, in order."""
        return self._hash.hexdigest()

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    @overload
    def __getitem__(self, index: int) -> TrainingSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingSequence]: ...
    def __getitem__(self, index: int | slice) -> TrainingSequence | list[TrainingSequence]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        with self._lock:  # the file has one position
            batch = self._reader.get_batch(index % len(self))
        arrays = {field.name: _array(batch.column(i)) for i, field in enumerate(self._schema)}
        return TrainingSequence(
            token_ids=arrays["token_ids"],
            weights={name: arrays[f"weights/{name}"] for name in self._weight_names},
            teacher=None if batch.column("teacher/positions").null_count else _teacher(arrays),
            **{name: int(arrays[name][0]) for name in _COUNTS},
        )

    def _checked(self, write: Any, *arguments: Any) -> None:
        try:
            write(*arguments)
        except OSError as error:
            raise UserError(
                f"the training data cannot be written to a temporary file in {self._folder or 'TMPDIR'} ({error}); "
                "free space there, or move the run to a larger disk, then run the same command again."
            ) from error


def _one_list(array: NDArray[Any] | None, type_: pa.DataType) -> pa.Array:
    if array is None:
        return pa.nulls(1, type_)
    return pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), pa.array(array, type_.value_type))


def _array(column: pa.ListArray) -> NDArray[Any]:
    array: NDArray[Any] = column.flatten().to_numpy()
    return array


def _teacher(arrays: dict[str, NDArray[Any]]) -> TeacherScores:
    rows = len(arrays["teacher/positions"])
    return TeacherScores(
        positions=arrays["teacher/positions"],
        sizes=arrays["teacher/sizes"],
        token_ids=arrays["teacher/token_ids"].reshape(rows, -1),
        logprobs=arrays["teacher/logprobs"].reshape(rows, -1),
        tail_mass=arrays["teacher/tail_mass"],
    )
