"""Writes ``handover.json`` into a trained model folder (`rollout.models.handover`)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rollout.errors import UserError
from rollout.models.handover import FILE_NAME, Handover, weight_digests

_NUM_TOKENS = 32
_FLOAT32_BYTES = 8 * 2**30
"""Larger files of weights, and the base model of an adapter, stay mapped and are computed with in their own
precision, so that no copy of them is made."""


def write_handover(folder: Path, tokenizer: Any, state: str) -> None:
    """Load the model or adapter that is in a folder, and record its files and what it predicts.

    Nothing is written for an adapter that does not name its base model.

    Args:
        tokenizer: the transformers tokenizer of the model; random tokens are drawn from its vocabulary.
        state: name of the training state that belongs to the weights; may be empty.

    Raises:
        UserError: the weights are not finite.
    """
    from transformers import AutoModelForCausalLM

    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path"):
        return
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    dtype = torch.float32 if size <= _FLOAT32_BYTES and not adapter.is_file() else "auto"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False).eval()
    vocabulary = min(len(tokenizer), model.get_input_embeddings().weight.shape[0])
    length = min(_NUM_TOKENS, model.config.max_position_embeddings)
    ids = np.random.default_rng(0).integers(vocabulary, size=length).tolist()
    with torch.inference_mode():
        logprobs_TV = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    top = logprobs_TV.max(dim=-1)
    if not all(map(math.isfinite, top.values.tolist())):
        raise UserError("the trained weights are not finite; lower learner.learning_rate and train again.")
    handover = Handover(
        state=state,
        files=weight_digests(folder),
        token_ids=tuple(ids),
        top_ids=tuple(top.indices.tolist()),
        top_logprobs=tuple(top.values.tolist()),
    )
    (folder / FILE_NAME).write_text(handover.model_dump_json(indent=2) + "\n", encoding="utf-8")
