"""A sequence file gives back what was written, in memory or on disk, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.data import sequence_file
from learner.data.sequence_file import SequenceFile
from learner.data.streams import TrainingSequence, to_sequence
from rollout.errors import UserError
from tests.learner.toys import toy_trajectory

NAMES = ["reason", "act/span_mean"]


def sequences() -> list[TrainingSequence]:
    """Ten sequences; every third has no teacher scores, and one is truncated."""
    return [
        to_sequence(toy_trajectory(seed, k=0 if seed % 3 == 2 else 2 + seed), NAMES, max_tokens=60)
        for seed in range(10)
    ]


def written(folder: Path | None = None, repeat: int = 1) -> SequenceFile:
    file = SequenceFile(NAMES, folder)
    for sequence in sequences() * repeat:
        file.append(sequence)
    file.finish()
    return file


def assert_same(one: Any, other: Any) -> None:
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_same(value, other[name])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    else:
        assert one == other


def test_sequences_are_read_by_index_bit_for_bit() -> None:
    file = written()
    assert len(file) == 10
    for index, expected in enumerate(sequences()):
        assert_same(expected, file[index])
        assert_same(expected, file[index - 10])
    assert len(list(file)) == 10
    assert_same(file[2:4][1], file[3])
    with pytest.raises(IndexError):
        file[10]


def test_a_large_training_set_is_in_a_file_without_a_name(tmp_path: Path) -> None:
    limit = sequence_file.IN_MEMORY_BYTES
    rounds = 2 + limit // 2**25  # incompressible weights: 2**23 float32 are 32 MiB
    noise = np.random.default_rng(0).random(2**23, np.float32)
    file = SequenceFile(["all"], tmp_path)
    for number in range(rounds):
        file.append(TrainingSequence(np.full(2**23, number, np.int32), {"all": noise}, None, 0, 0))
    file.finish()
    assert file._file._rolled  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    assert file[rounds - 1].token_ids[0] == rounds - 1
    assert np.array_equal(file[0].weights["all"], noise)


def test_the_digest_is_that_of_the_content() -> None:
    assert written().digest == written().digest
    assert written().digest != written(repeat=2).digest


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    file = SequenceFile(["all"], tmp_path / "missing")
    noise = np.random.default_rng(0).random(2**24, np.float32)
    with pytest.raises(UserError, match=r"cannot be written to a temporary file in .*missing"):
        file.append(TrainingSequence(np.zeros(2**24, np.int32), {"all": noise}, None, 0, 0))
