"""Arrays are copied to the device of the process."""

from __future__ import annotations

import numpy as np
import torch

from learner.distributed import to_device


def test_an_array_is_copied_to_a_device_with_its_type() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2]
    assert to_device(array, torch.device("cpu")).tolist() == array.tolist()
    assert to_device(np.arange(2), torch.device("cpu")).dtype == torch.int64
