"""Packed rows: several episodes one after the other in one row, with attention inside each episode only.

The attention function `packed_attention` is registered with transformers under `PACKED`. It takes the lengths of the
episodes from the keyword arguments of the model's forward call (`learner.data.model_inputs`), so no mask is built.
"""

from __future__ import annotations

from functools import cache
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from learner.config import LearnerConfig
from learner.data.model_inputs import packed_inputs
from learner.head import bare_model
from rollout.errors import UserError

PACKED = "packed_sdpa"
"""Name of the attention function in transformers' `AttentionInterface`."""
_PACKABLE_LAYERS = {"full_attention", "sliding_attention"}
_HALF = (torch.bfloat16, torch.float16)
_PROBE_LENGTHS = (7, 5, 4)


def packed_attention(
    module: nn.Module,
    query_BHLD: Tensor,
    key_BGLD: Tensor,
    value_BGLD: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    sequence_lengths: tuple[int, ...] | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each sequence of a packed row, as transformers calls it; ``[B, L, H, D]``.

    On a GPU in half precision it is one varlen kernel. Otherwise `scaled_dot_product_attention` runs once per sequence,
    with the arguments that transformers gives it for a row of its own.

    Args:
        sequence_lengths: lengths of the sequences, which add up to L; None if every row is one sequence.
        cu_seq_lens_q: ``[sequences + 1]`` their boundaries, int32, on the device of the query.
        max_length_q: length of the longest one.

    Raises:
        NotImplementedError: the layer adds a bias or a mask of its own, which has the shape of the whole row.
    """
    if attention_mask is not None or kwargs.get("position_bias") is not None:
        raise NotImplementedError("its attention has a mask or a position bias of its own")
    kernel = _varlen_kernel() if query_BHLD.is_cuda and query_BHLD.dtype in _HALF and not dropout else None
    if kernel is not None and cu_seq_lens_q is not None:
        output_LHD = kernel(
            *(tensor[0].transpose(0, 1) for tensor in (query_BHLD, key_BGLD, value_BGLD)),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(sliding_window - 1 if sliding_window else -1, 0),
            enable_gqa=query_BHLD.shape[1] != key_BGLD.shape[1],
        )
        return output_LHD[None], None
    lengths = sequence_lengths or (query_BHLD.shape[2],)
    outputs: list[Tensor] = []
    for query, key, value in zip(
        *(tensor.split(lengths, dim=2) for tensor in (query_BHLD, key_BGLD, value_BGLD)), strict=True
    ):
        mask = _window_mask(query, sliding_window)
        outputs += sdpa_attention_forward(module, query, key, value, mask, dropout, scaling, **kwargs)[:1]
    return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), None


def _window_mask(query_BHLD: Tensor, window: int | None) -> Tensor | None:
    """Mask ``[1, 1, L, L]`` of a sliding window; None if the sequence fits the window, so causality is all."""
    length = query_BHLD.shape[2]
    if window is None or length <= window:
        return None
    full = torch.ones(length, length, dtype=torch.bool, device=query_BHLD.device)
    return full.tril_().triu_(1 - window)[None, None]


@cache
def _varlen_kernel() -> Any:
    """PyTorch's varlen attention; None if this version of PyTorch has none with sliding windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if {"window_size", "enable_gqa"} <= signature(varlen_attn).parameters.keys() else None


AttentionInterface.register(PACKED, packed_attention)


def use_packing(config: LearnerConfig, model: Any) -> tuple[bool, str]:
    """Switch the model's attention to packed rows, if ``config.packing`` and the architecture allow it.

    Returns:
        Whether micro-batches are to be packed, and for ``packing: auto`` the reason why not, or an empty string.

    Raises:
        UserError: ``packing: packed`` and the architecture cannot be packed.
    """
    if config.packing == "padded":
        return False, ""
    reason = why_not_packed(model)
    if reason and config.packing == "packed":
        raise UserError(f"{reason}; set learner.packing to auto or padded.")
    return not reason, reason


def why_not_packed(model: Any) -> str:
    """Switch the model's attention to `PACKED` and return an empty string, or why its rows cannot be packed.

    Architectures are not listed. The model computes three short random sequences alone and packed, and the logits must
    be equal: state-space layers, convolutions over tokens, and positions that ignore ``position_ids`` are found so.
    """
    bare = bare_model(model)
    kind, parameters = bare.config.model_type, signature(bare.forward).parameters
    takes_kwargs = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    if "position_ids" not in parameters or not takes_kwargs or not bare._supports_attention_backend:
        return f"models of type {kind!r} do not take another attention function, so their rows are not packed"
    text = bare.config.get_text_config()
    if getattr(text, "attn_logit_softcapping", None):
        return f"models of type {kind!r} cap the logits of their attention, so their rows are not packed"
    if other := set(getattr(text, "layer_types", None) or ()) - _PACKABLE_LAYERS:
        return f"models of type {kind!r} have layers of type {min(other)}, so their rows are not packed"
    if getattr(text, "sliding_window", None) and not bare._supports_flash_attn:
        # Only models that flash attention supports pass the window to the attention function; others have it in a mask.
        return f"models of type {kind!r} do not pass on their sliding window, so their rows are not packed"
    before = bare.config._attn_implementation
    try:
        problem = _probe(model)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:  # of the architecture's own code
        problem = str(error).splitlines()[0]
    if problem:
        bare.set_attn_implementation(before)
        return f"models of type {kind!r} cannot be packed, because {problem}; their rows are padded"
    return ""


@torch.no_grad()
def _probe(model: Any) -> str:
    """Leave the model with packed attention, and return what differs from sequences in rows of their own."""
    bare, was_training = bare_model(model), model.training
    generator = torch.Generator().manual_seed(0)
    vocabulary = bare.get_input_embeddings().weight.shape[0]
    ids_1L = torch.randint(vocabulary, (1, sum(_PROBE_LENGTHS)), generator=generator).to(bare.device)
    model.eval()
    try:
        alone = [bare(input_ids=part, use_cache=False).logits for part in ids_1L.split(_PROBE_LENGTHS, dim=1)]
        bare.set_attn_implementation(PACKED)
        packed_1LV = bare(input_ids=ids_1L, use_cache=False, **packed_inputs(_PROBE_LENGTHS, ids_1L.device)).logits
    finally:
        model.train(was_training)
    expected_1LV = torch.cat(alone, dim=1)
    tolerance = torch.finfo(expected_1LV.dtype).eps ** 0.5 * float(expected_1LV.abs().max())
    same = torch.allclose(packed_1LV, expected_1LV, rtol=0.0, atol=tolerance)
    return "" if same else "sequences in one row influence each other"
