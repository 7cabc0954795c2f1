"""The process group of a training run; a single process if ``torch.distributed`` is not initialized."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Distributed:
    """Rank of this process, number of processes, and the device that it computes on."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def current(cls) -> Distributed:
        """Describe this process in the default process group; ``LOCAL_RANK`` selects the GPU of a node."""
        initialized = dist.is_available() and dist.is_initialized()
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if initialized else (0, 1)
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
            torch.cuda.set_device(device)
        return cls(rank, world_size, device)

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Return the element-wise sum over all ranks, on every rank."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank. The value must be picklable."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()


def to_device(array: NDArray[np.float32] | NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Copy an array to a device, to a GPU through pinned memory, so that the CPU does not wait for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
