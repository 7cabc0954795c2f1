"""Checks that a device computes in the configured precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

from learner.config import LearnerConfig
from rollout.errors import UserError


def check_precision(
    config: LearnerConfig,
    device: torch.device,
    cuda_has_bfloat16: Callable[[], bool] = lambda: torch.cuda.is_bf16_supported(including_emulation=False),
) -> None:
    """Check that ``device`` supports the precisions of student and teacher. A CPU does, although it may be slow.

    Raises:
        UserError: a precision is bfloat16 and the GPU is too old for it.
    """
    precisions = {"learner.precision": config.precision}
    if config.teacher is not None:
        precisions["learner.teacher.precision"] = config.teacher.precision
    for setting, precision in precisions.items():
        if precision == "bfloat16" and device.type == "cuda" and not cuda_has_bfloat16():
            raise UserError(
                f"{setting} is bfloat16, which this GPU does not support (it needs compute capability 8.0); "
                f"set {setting}=float32, or train on a newer GPU."
            )
