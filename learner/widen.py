"""Function-preserving widening: initializes a wide model from a trained narrow one.

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
    """Return a model with ``factor`` times the width and heads and the same depth that gives nearly the same logits.

    Every unit is copied ``factor`` times, and the weights that read the copies are divided by ``factor``.

    Args:
        factor: multiplier of all widths, at least 1.
        noise: standard deviation of the noise that is added to the matrices, relative to theirs. It is drawn from
            torch's global generator. Without noise, the copies of a unit would get equal gradients and stay equal.

    Raises:
        UserError: the architecture is neither Llama nor Qwen2.
    """
    import torch

    if model.config.model_type not in ("llama", "qwen2"):
        raise UserError(
            f"learner.widen supports models of type llama and qwen2, not {model.config.model_type}; set it to 1"
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
    """Return the wide model's tensor ``name``, given the narrow model's."""
    import torch

    if name == "model.norm.weight":  # the LM head, often tied to the embeddings, sums over the copies
        return weight.repeat(factor) / factor
    if weight.ndim == 1:
        return weight.repeat(factor)
    if name in ("model.embed_tokens.weight", "lm_head.weight"):
        return weight.repeat(1, factor)
    copies = weight.repeat(factor, factor) / factor
    return copies + noise * copies.std() * torch.randn_like(copies)
