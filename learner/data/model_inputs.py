"""The arguments of the model's forward call for one micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch

from learner.data.batching import Batch
from learner.distributed import to_device


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return the keyword arguments with which a causal language model reads the rows of ``batch``."""
    inputs = {"input_ids": to_device(batch.input_ids, device)}
    if batch.sequence_lengths is None:
        return inputs
    return {**inputs, **packed_inputs(batch.sequence_lengths, device)}


def packed_inputs(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Return the positions ``[1, L]`` and the boundaries of the sequences of a packed row.

    ``cu_seq_lens_q`` and the like are the names of flash attention in transformers. ``sequence_lengths`` is for
    `learner.packing.packed_attention`, which would otherwise wait for the GPU to read them.
    """
    boundaries = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device, non_blocking=True)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        "position_ids": positions[None].to(device, non_blocking=True),
        "sequence_lengths": tuple(lengths),
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
