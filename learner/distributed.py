"""The processes that train together. Alone if ``torch.distributed`` is not initialised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Distributed:
    """This process's place, and what it computes on."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls) -> Distributed:
        """As whoever started the process group has arranged it; ``LOCAL_RANK`` chooses among a node's accelerators."""
        run_all = dist.is_available() and dist.is_initialized()
        rank, size = (dist.get_rank(), dist.get_world_size()) if run_all else (0, 1)
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
            torch.cuda.set_device(device)
        return cls(rank, size, device)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise sum over the ranks; every rank gets the same."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()
