"""Attention functions of transformers models."""

from __future__ import annotations

from typing import Any


def keep_attention_cap(model: Any) -> None:
    """Let a transformers model whose attention caps its logits, such as Gemma 2, apply the cap.

    transformers' default function, SDPA, leaves it out.
    """
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
