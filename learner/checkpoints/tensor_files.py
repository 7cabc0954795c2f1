"""Tensors that several ranks write in parts, each into its own file, and that any number of ranks can read.

    FOLDER/
      rank=0-of-2.safetensors  rank=0-of-2.json
      rank=1-of-2.safetensors  rank=1-of-2.json

A JSON file is written after its tensors. It holds their checksum, the place of each in the whole tensor, and whatever
the writer adds. A folder is complete if all JSON files are there, so ranks need not wait for each other. Nothing is
unpickled when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, NonNegativeInt, PositiveInt, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from rollout.storage.atomic import atomic_write, atomic_write_text, sync_folder

OWN = "rank/"
"""Prefix of the names of tensors that belong to one rank and cannot be divided among another number of ranks."""
State = Mapping[str, Tensor]


class DamagedError(Exception):
    """Files are missing, incomplete or not as they were written; the message says what."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one rank holds of a tensor, and where it is in the whole one."""

    tensor: Tensor
    shape: tuple[int, ...]
    offset: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two parts of a tensor have in common, as slices of each; ``numel`` elements."""

    here: tuple[slice, ...]
    there: tuple[slice, ...]
    numel: int


def part_of(tensor: Tensor) -> Part:
    """The part of a tensor on this rank: all of it, or the shard of a DTensor. Shares its memory."""
    if not isinstance(tensor, DTensor):
        return Part(tensor.detach(), tuple(tensor.shape), (0,) * tensor.ndim)
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    local: Tensor = tensor.to_local().detach()
    return Part(local, tuple(tensor.shape), tuple(offset))


def parts_to_write(state: State, rank: int, world_size: int) -> dict[str, Part]:
    """Copies in main memory of what this rank writes.

    Each rank writes its shards and its own tensors, and a fair share of the tensors that are the same on all ranks.
    Tensors that share memory are written once.
    """
    parts, sizes = {}, [0] * world_size
    for name, tensor in distinct(state).items():
        if not isinstance(tensor, DTensor) and not name.startswith(OWN):
            writer = sizes.index(min(sizes))
            sizes[writer] += tensor.nbytes
            if writer != rank:
                continue
        part = part_of(tensor)
        parts[name] = Part(part.tensor.to("cpu", copy=True).contiguous(), part.shape, part.offset)
    return parts


def distinct(state: State) -> dict[str, Tensor]:
    """The tensors without those that are an earlier one under another name, such as a tied head."""
    seen: set[tuple[int, torch.Size]] = set()
    kept = {}
    for name, tensor in state.items():
        local = part_of(tensor).tensor
        memory = (local.data_ptr(), local.shape)
        if local.numel() == 0 or memory not in seen:
            seen.add(memory)
            kept[name] = tensor
    return kept


def overlap(part: Part, place: Mapping[str, Any]) -> Overlap:
    """What a part has in common with one in a file, at ``place``; nothing if the whole tensors differ in shape."""
    nothing = Overlap((), (), 0)
    if tuple(place["shape"]) != part.shape:
        return nothing
    here, there, numel = [], [], 1
    for own, own_size, other, other_size in zip(
        part.offset, part.tensor.shape, place["offset"], place["size"], strict=True
    ):
        start, stop = max(own, other), min(own + own_size, other + other_size)
        if start >= stop:
            return nothing
        here.append(slice(start - own, stop - own))
        there.append(slice(start - other, stop - other))
        numel *= stop - start
    return Overlap(tuple(here), tuple(there), numel)


def write_parts(folder: Path, parts: Mapping[str, Part], rank: int, world_size: int, more: Mapping[str, Any]) -> None:
    """Write a rank's files; on disk when this returns.

    Args:
        more: added to the JSON file.

    Raises:
        UserError: no space is left.
    """
    file = folder / f"rank={rank}-of-{world_size}.safetensors"
    with atomic_write(file) as temporary:
        save_file({name: part.tensor for name, part in parts.items()}, temporary)
        digest = _digest(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
    places = {
        name: {"shape": part.shape, "offset": part.offset, "size": list(part.tensor.shape)}
        for name, part in parts.items()
    }
    about = {**more, "world_size": world_size, "sha256": digest, "tensors": places}
    atomic_write_text(file.with_suffix(".json"), json.dumps(about))
    for changed in (folder, folder.parent):
        sync_folder(changed)


class TensorFiles:
    """The files of a folder that all ranks have written.

    Raises:
        DamagedError: a JSON file is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        first = next(iter(sorted(folder.glob("rank=0-of-*.json"))), None)
        if first is None:
            raise DamagedError(f"{folder} is incomplete")
        self.world_size = int(_read(first)["world_size"])
        self.about = [_read(folder / f"rank={rank}-of-{self.world_size}.json") for rank in range(self.world_size)]

    def check(self, ranks: Sequence[int]) -> None:
        """Raise `DamagedError` unless the tensors of these writers are as they were written."""
        for rank in ranks:
            file = self._file(rank)
            if not file.is_file() or _digest(file) != self.about[rank]["sha256"]:
                raise DamagedError(f"{file} is damaged")

    def require(self, state: State, rank: int, world_size: int) -> None:
        """Raise `DamagedError` if `copy_into` would: a tensor is missing or cannot be divided."""
        for name, tensor in distinct(state).items():
            if name.startswith(OWN) and world_size != self.world_size:
                raise DamagedError(
                    f"{self.folder} was written by {self.world_size} processes with a strategy whose state cannot be "
                    f"divided among {world_size}"
                )
            target = part_of(tensor)
            if sum(overlap(target, place).numel for _, place in self._places(name, rank)) != target.tensor.numel():
                raise DamagedError(f"{self.folder} has no tensor {name} of shape {list(target.shape)}")

    def copy_into(self, state: State, rank: int, world_size: int) -> None:
        """Copy what this rank needs into its tensors, also if another number of ranks has written.

        Raises:
            DamagedError: a tensor is missing or has another shape, or only the same number of ranks can read it.
                Nothing is copied then.
        """
        self.require(state, rank, world_size)
        for name, tensor in distinct(state).items():
            target = part_of(tensor)
            for writer, place in self._places(name, rank):
                common = overlap(target, place)
                if common.numel:
                    with _reading(self._file(writer)) as file:
                        chosen = file.get_slice(name)[common.there] if common.there else file.get_tensor(name)
                        target.tensor[common.here].copy_(chosen)

    def _places(self, name: str, rank: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Writers that have a part of a tensor, and which part; of a rank's own tensor, only that rank."""
        for writer in [rank] if name.startswith(OWN) else range(self.world_size):
            if place := self.about[writer]["tensors"].get(name):
                yield writer, place

    def _file(self, rank: int) -> Path:
        return self.folder / f"rank={rank}-of-{self.world_size}.safetensors"


@contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """Open a file; what safetensors raises on a damaged one becomes a `DamagedError`."""
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, FileNotFoundError) as error:
        raise DamagedError(f"{file} is damaged") from error


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Place(BaseModel):
    shape: tuple[NonNegativeInt, ...]
    offset: tuple[NonNegativeInt, ...]
    size: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.shape) == len(self.offset) == len(self.size):
            raise ValueError("shape, offset and size differ in length")
        return self


class _About(BaseModel, extra="allow"):
    """What a JSON file holds besides what its writer adds."""

    world_size: PositiveInt
    sha256: str
    tensors: dict[str, _Place]


def _read(file: Path) -> dict[str, Any]:
    try:
        return _About.model_validate_json(file.read_bytes()).model_dump()
    except FileNotFoundError as error:
        raise DamagedError(f"{file.parent} is incomplete") from error
    except ValueError as error:
        raise DamagedError(f"{file} is damaged") from error
