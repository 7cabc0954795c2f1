"""What a process knows about its device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learner.distributed import Distributed, check_precision, to_device
from rollout.errors import UserError


def test_bfloat16_is_refused_on_a_device_without_it() -> None:
    old, new = (Distributed(0, 1, torch.device("cpu"), has_bfloat16=has) for has in (False, True))
    with pytest.raises(UserError, match=r"does not compute in bfloat16.*set learner\.precision to float32"):
        check_precision("bfloat16", old)
    check_precision("bfloat16", new)
    check_precision("float32", old)


def test_an_array_is_copied_to_a_device_with_its_type() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2]
    assert to_device(array, torch.device("cpu")).tolist() == array.tolist()
    assert to_device(np.arange(2), torch.device("cpu")).dtype == torch.int64
