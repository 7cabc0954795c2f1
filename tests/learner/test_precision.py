"""A GPU without bfloat16 is refused before training begins."""

from __future__ import annotations

import pytest
import torch

from learner.precision import check_precision
from rollout.errors import UserError


def test_bfloat16_is_refused_on_a_gpu_that_lacks_it_and_only_there() -> None:
    old = lambda: False  # noqa: E731
    with pytest.raises(UserError, match=r"learner\.precision is bfloat16.*set learner\.precision=float32"):
        check_precision("learner.precision", "bfloat16", torch.device("cuda"), old)
    check_precision("learner.precision", "float32", torch.device("cuda"), old)
    check_precision("learner.precision", "bfloat16", torch.device("cpu"), old)
    check_precision("learner.precision", "bfloat16", torch.device("cuda"), lambda: True)
