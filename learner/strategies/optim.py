"""Optimizers, and a learning-rate schedule over the used fraction of the budget instead of a number of steps."""

from __future__ import annotations

import math

import torch

from learner.config import LearnerConfig
from learner.model import decoder_layers


def learning_rate_factor(fraction: float, config: LearnerConfig) -> float:
    """Return the factor on the learning rate when ``fraction`` in [0, 1] of the budget is used.

    It rises linearly over ``warmup_fraction``, then decays to ``final_learning_rate_fraction`` at the end.
    """
    warmup, final = config.warmup_fraction, config.final_learning_rate_fraction
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    done = min(1.0, (fraction - warmup) / (1.0 - warmup))
    if config.decay == "constant":
        return 1.0
    if config.decay == "linear":
        return final + (1.0 - final) * (1.0 - done)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimizers(model: torch.nn.Module, config: LearnerConfig) -> list[torch.optim.Optimizer]:
    """Create AdamW for all parameters, or Muon for the layers' matrices and AdamW for the rest.

    Muon's updates are scaled to the RMS of AdamW's (arXiv 2502.16982), so both use one learning rate. The scale does
    not depend on the orientation of a matrix, because GPT-2 stores its matrices transposed. Norms and biases have no
    weight decay.

    Raises:
        UserError: Muon is configured and the layers of the model cannot be found; see `decoder_layers`.
    """
    layers = decoder_layers(model) if config.optimizer == "muon" else []
    matrices = [p for layer in layers for p in layer.parameters() if p.requires_grad and p.ndim == 2]
    chosen = set(map(id, matrices))
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        fused=True,
    )
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw, muon]
