"""The language-model head, applied only to positions that contribute to the loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rollout.errors import UserError


class SelectedLogits(nn.Module):
    """Wraps a causal language model so that it computes logits at selected positions only.

    Most tokens of agent episodes are observations, which are not trained on. Dropping their hidden states before the
    LM head saves computation and memory in proportion.

    Raises:
        UserError: the model rescales its logits (soft-capping or ``logits_scaling``), which would be bypassed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        settings = model.config
        if getattr(settings, "final_logit_softcapping", None) or getattr(settings, "logits_scaling", 1.0) != 1.0:
            raise UserError(
                f"models of type {settings.model_type!r} rescale their logits, which is unsupported; use another model."
            )

    def forward(self, input_ids_BL: Tensor, positions_N: Tensor) -> Tensor:
        """Return logits ``[N, V]``. ``positions_N`` index into B*L. Rows must be padded on the right."""
        bare = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        hidden_BLH = bare.get_decoder()(input_ids=input_ids_BL, use_cache=False)[0]
        hidden_NH = hidden_BLH.flatten(0, 1).index_select(0, positions_N)
        logits_NV: Tensor = bare.get_output_embeddings()(hidden_NH)
        return logits_NV
