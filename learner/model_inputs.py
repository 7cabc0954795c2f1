"""The arguments of the model's forward call for one micro-batch."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.batching import Batch


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return the keyword arguments with which a causal language model reads the rows of ``batch``."""
    return {"input_ids": torch.from_numpy(batch.input_ids).to(device)}
