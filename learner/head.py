"""The decoder with a head that projects only the positions that train."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rollout.errors import UserError


class SelectedLogits(nn.Module):
    """Logits at chosen positions of a causal language model.

    In agent traces most tokens are observations. Their hidden states are dropped before the LM head, which saves the
    head's work and memory in the proportion of what does not train.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        settings = model.config
        if getattr(settings, "final_logit_softcapping", None) or getattr(settings, "logits_scaling", 1.0) != 1.0:
            raise UserError(f"models of type {settings.model_type!r} rescale their logits, which is not supported.")

    def forward(self, input_ids_BL: Tensor, positions_N: Tensor) -> Tensor:
        """Returns ``[N, V]``. ``positions_N`` index into B*L. Rows are padded on the right, so no mask is needed."""
        bare = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        hidden_BLH = bare.get_decoder()(input_ids=input_ids_BL, use_cache=False)[0]
        hidden_NH = hidden_BLH.flatten(0, 1).index_select(0, positions_N)
        logits_NV: Tensor = bare.get_output_embeddings()(hidden_NH)
        return logits_NV
