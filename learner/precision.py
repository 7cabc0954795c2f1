"""Checks that a device computes in the configured precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rollout.errors import UserError


def check_precision(
    setting: str,
    precision: str,
    device: torch.device,
    cuda_has_bfloat16: Callable[[], bool] = lambda: torch.cuda.is_bf16_supported(including_emulation=False),
) -> None:
    """Check that ``device`` supports ``precision``. A CPU supports bfloat16, although it may be slow.

    Args:
        setting: name of the setting, for the message.

    Raises:
        UserError: the precision is bfloat16 and the GPU is too old for it.
    """
    if precision == "bfloat16" and device.type == "cuda" and not cuda_has_bfloat16():
        raise UserError(
            f"{setting} is bfloat16, which this GPU does not support (it needs compute capability 8.0); "
            f"set {setting}=float32, or train on a newer GPU."
        )
