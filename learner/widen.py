"""A wider model that computes the same: what a small model has learnt is where a larger one starts.

Source: Net2WiderNet (Chen, Goodfellow, Shlens 2016, arXiv 1511.05641), for decoders shaped like Llama or Qwen2.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from rollout.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_WIDTHS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


def widen(model: PreTrainedModel, factor: int, noise: float = 0.02) -> PreTrainedModel:
    """A model of ``factor`` times the width and heads, and as many layers, that gives nearly the same logits.

    Every unit is there ``factor`` times, and what reads the copies takes its share of each.

    Args:
        noise: added to the matrices, as a share of their spread, from torch's generator; without it a unit and its
            copies would learn the same for ever.

    Raises:
        UserError: the model is not shaped like Llama or Qwen2.
    """
    import torch

    if model.config.model_type not in ("llama", "qwen2"):
        raise UserError(
            f"learner.widen knows models of type llama and qwen2, not {model.config.model_type}; set it to 1"
        )
    architecture = copy.deepcopy(model.config)
    for name in _WIDTHS:
        setattr(architecture, name, getattr(architecture, name) * factor)
    wide = type(model)(architecture)
    state = model.state_dict()
    with torch.no_grad():
        for name, weight in wide.state_dict().items():
            weight.copy_(_widened(name, state[name], factor, noise))
    return wide


def _widened(name: str, weight: torch.Tensor, factor: int, noise: float) -> torch.Tensor:
    """The wide model's tensor ``name``, from the narrow one's."""
    import torch

    if name == "model.norm.weight":  # the head, often tied to the embeddings, reads all copies of a unit
        return weight.repeat(factor) / factor
    if weight.ndim == 1:
        return weight.repeat(factor)
    if name in ("model.embed_tokens.weight", "lm_head.weight"):
        return weight.repeat(1, factor)
    copies = weight.repeat(factor, factor) / factor
    return copies + noise * copies.std() * torch.randn_like(copies)
