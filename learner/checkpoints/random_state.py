"""The state of all random number generators of a process, in a form that can be saved as JSON and tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.checkpoints.tensor_files import OWN

_CPU, _CUDA = f"{OWN}random/cpu", f"{OWN}random/cuda"


def seed_rank(seed: int, rank: int, step: int = 0) -> None:
    """Seed torch, so that dropout differs between ranks and does not depend on how the model was initialized."""
    torch.manual_seed(int(np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)[0] >> 1))


def random_tensors(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators by name."""
    tensors = {_CPU: torch.get_rng_state()}
    return tensors | ({_CUDA: torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_tensors(tensors: dict[str, Tensor], device: torch.device) -> None:
    """Restore what `random_tensors` returned."""
    torch.set_rng_state(tensors[_CPU])
    if _CUDA in tensors:
        torch.cuda.set_rng_state(tensors[_CUDA], device)


def random_json() -> dict[str, Any]:
    """State of Python's and NumPy's global generators."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
    }


def set_random_json(state: dict[str, Any]) -> None:
    """Restore what `random_json` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
