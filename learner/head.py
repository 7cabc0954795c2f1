"""The language-model head, applied only to positions that contribute to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rollout.errors import UserError

_CHECKED_ROWS, _CHECKED_TOKENS = 2, 8


class SelectedLogits(nn.Module):
    """Wraps a causal language model so that it computes logits at selected positions only.

    Most tokens of agent episodes are observations, which are not trained on. Dropping their hidden states before the
    LM head saves computation and memory in proportion. The model's own forward applies the head, so a logit scale or a
    soft-cap is part of the result for every architecture.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Mapping[str, Any], positions_N: Tensor) -> Tensor:
        """Return logits ``[N, V]``.

        Args:
            inputs: keyword arguments of the model's forward; rows ``[B, L]`` are padded on the right.
            positions_N: indices into B*L.
        """

        def select(_module: nn.Module, _arguments: Any, output: Any) -> Any:
            selected_1NH = output[0].flatten(0, 1).index_select(0, positions_N)[None]
            if isinstance(output, tuple):
                return (selected_1NH, *output[1:])
            output.last_hidden_state = selected_1NH
            return output

        bare = bare_model(self.model)
        hook = bare.get_decoder().register_forward_hook(select)
        try:
            logits_1NV: Tensor = bare(**inputs, use_cache=False).logits
        finally:
            hook.remove()
        return logits_1NV[0]


def bare_model(model: Any) -> Any:
    """The causal language model below PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


@torch.no_grad()
def check_head(model: Any) -> None:
    """Compare the logits of `SelectedLogits` with those of ``model(...)`` on random tokens.

    Raises:
        UserError: they differ, so the loss would not be that of the model.
    """
    bare, was_training = bare_model(model), model.training
    generator = torch.Generator().manual_seed(0)
    vocabulary = bare.get_input_embeddings().weight.shape[0]
    ids_BL = torch.randint(vocabulary, (_CHECKED_ROWS, _CHECKED_TOKENS), generator=generator).to(bare.device)
    positions_N = torch.arange(1, ids_BL.numel(), 2, device=bare.device)
    model.eval()
    try:
        expected_NV = bare(input_ids=ids_BL, use_cache=False).logits.flatten(0, 1)[positions_N]
        selected_NV = SelectedLogits(model)({"input_ids": ids_BL}, positions_N)
    finally:
        model.train(was_training)
    if expected_NV.shape != selected_NV.shape or not torch.allclose(
        expected_NV.float(), selected_NV.float(), rtol=1e-2, atol=1e-3 * float(expected_NV.abs().max())
    ):
        raise UserError(
            f"models of type {bare.config.model_type!r} compute logits that depend on more than the hidden state of "
            "their position, so they cannot be computed for the trained tokens alone; choose another student model."
        )
