"""Tensors that ranks write in parts: read by any number of ranks, each tensor once, damage found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from learner.checkpoints.tensor_files import OWN, DamagedError, Part, TensorFiles, overlap, parts_to_write, write_parts

STATE = {
    "weight": torch.arange(12.0).reshape(4, 3),
    "bias": torch.arange(3.0) + 0.5,
    "step": torch.tensor(7.0),
    "count": torch.tensor([3, 4]),
}


def write(folder: Path, state: dict[str, Tensor], world_size: int) -> list[dict[str, Part]]:
    folder.mkdir(parents=True, exist_ok=True)
    written = [parts_to_write(state, rank, world_size) for rank in range(world_size)]
    for rank, parts in enumerate(written):
        write_parts(folder, parts, rank, world_size, {"note": rank})
    return written


def zeros(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("readers", [1, 2])
def test_any_number_of_ranks_reads_what_any_number_wrote(tmp_path: Path, world_size: int, readers: int) -> None:
    written = write(tmp_path, STATE, world_size)
    names = [name for parts in written for name in parts]
    assert sorted(names) == sorted(STATE)  # each tensor once
    for rank in range(readers):
        target = zeros(STATE)
        files = TensorFiles(tmp_path)
        files.check(range(world_size))
        files.copy_into(target, rank, readers)
        assert all(torch.equal(target[name], STATE[name]) for name in STATE)
    assert [about["note"] for about in files.about] == list(range(world_size))


def cut(rows: int, parts: int) -> list[tuple[int, int]]:
    """Offset and size of each part of a tensor, as FSDP2 divides rows."""
    chunk = -(-rows // parts)
    return [(min(i * chunk, rows), max(0, min(chunk, rows - i * chunk))) for i in range(parts)]


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_shards_of_one_division_fill_those_of_another(rows: int, writers: int, readers: int) -> None:
    whole = torch.arange(float(rows * 2)).reshape(rows, 2)
    for offset, size in cut(rows, readers):
        part = Part(torch.full((size, 2), -1.0), (rows, 2), (offset, 0))
        for other, other_size in cut(rows, writers):
            common = overlap(part, {"shape": [rows, 2], "offset": [other, 0], "size": [other_size, 2]})
            if common.numel:
                part.tensor[common.here] = whole[other : other + other_size][common.there]
        assert torch.equal(part.tensor, whole[offset : offset + size])


def test_tied_tensors_are_written_once_and_read_into_both(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    (parts,) = write(tmp_path, {"embedding": tied, "head": tied}, 1)
    assert list(parts) == ["embedding"]
    target = torch.zeros(4)
    TensorFiles(tmp_path).copy_into({"embedding": target, "head": target}, 0, 1)
    assert torch.equal(target, tied)


def test_a_written_part_is_a_copy() -> None:
    live = torch.ones(3)
    part = parts_to_write({"weight": live}, 0, 1)["weight"]
    live.zero_()
    assert part.tensor.tolist() == [1.0, 1.0, 1.0]


def test_a_rank_s_own_tensor_is_read_by_that_rank_of_as_many_only(tmp_path: Path) -> None:
    name = f"{OWN}moments"
    for rank in range(2):
        parts = parts_to_write({name: torch.full((2,), float(rank))}, rank, 2)
        write_parts(tmp_path, parts, rank, 2, {})
    target = {name: torch.zeros(2)}
    TensorFiles(tmp_path).copy_into(target, 1, 2)
    assert target[name].tolist() == [1.0, 1.0]
    with pytest.raises(DamagedError, match="cannot be divided among 3"):
        TensorFiles(tmp_path).copy_into(target, 1, 3)


def test_nothing_is_copied_if_a_tensor_is_missing_or_has_another_shape(tmp_path: Path) -> None:
    write(tmp_path, STATE, 2)
    for other in ({"more": torch.zeros(1)}, {"bias": torch.zeros(4)}):
        target = {**zeros(STATE), **other}
        with pytest.raises(DamagedError, match="has no tensor"):
            TensorFiles(tmp_path).copy_into(target, 0, 1)
        assert not target["weight"].any()


OTHER_JSON = {
    "a list": "[1, 2]",
    "no checksum": '{"world_size": 2, "tensors": {}}',
    "a place without a size": '{"world_size": 2, "sha256": "", "tensors": {"w": {"shape": [1], "offset": [0]}}}',
    "a place of other dimensions": (
        '{"world_size": 2, "sha256": "", "tensors": {"w": {"shape": [1], "offset": [0, 0], "size": [1]}}}'
    ),
}


@pytest.mark.parametrize("damage", ["flipped", "short", "no tensors", "no json", "half a json", *OTHER_JSON])
def test_damaged_and_half_written_files_are_found(tmp_path: Path, damage: str) -> None:
    write(tmp_path, STATE, 2)
    tensors, about = tmp_path / "rank=1-of-2.safetensors", tmp_path / "rank=1-of-2.json"
    content = bytearray(tensors.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "short":
        tensors.write_bytes(content[:-3])
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "no json":
        about.unlink()
    else:
        about.write_text(OTHER_JSON.get(damage, about.read_text()[:20]))
    with pytest.raises(DamagedError, match="damaged|incomplete"):
        TensorFiles(tmp_path).check(range(2))
