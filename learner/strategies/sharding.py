"""What FSDP2 and ZeRO-3 do to a model, one layer at a time, so that no device holds the whole model in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from learner.config import LearnerConfig
from learner.model import decoder_layers

_NORM_EPSILON = 1e-6
"""Added to the norm by ``torch.nn.utils.clip_grad_norm_``."""


def shard_with_fsdp2(module: nn.Module, model: Any, config: LearnerConfig) -> None:
    """Apply FSDP2 to the layers of ``model`` and to ``module``, which contains it.

    For bfloat16, FSDP2 casts weights when it gathers them; autocast would keep a copy of every weight.
    """
    dtype = torch.bfloat16 if config.precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    offload = CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if config.cpu_offload else OffloadPolicy()
    for layer in decoder_layers(model):
        fully_shard(layer, mp_policy=policy, offload_policy=offload)
    fully_shard(module, mp_policy=policy, offload_policy=offload)


def partition_with_zero3(model: Any, settings: dict[str, Any]) -> None:
    """Make the weights of ``model`` float32 and divide them among the ranks as DeepSpeed ZeRO-3 does.

    Args:
        settings: DeepSpeed's configuration.
    """
    import deepspeed

    for part in (*decoder_layers(model), model):
        deepspeed.zero.Init(module=part.float(), config_dict_or_path=settings)


def full_weights(model: Any, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield the full tensors of the state dict by name, tied ones once; with adapters, only theirs.

    All ranks must read all of them, because a tensor that is divided among the ranks is gathered when it is read. It
    may be used until the next one is read.
    """
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen or (hasattr(model, "peft_config") and not tensor.requires_grad):
            continue
        seen.add(id(tensor))
        if isinstance(tensor, DTensor):
            shards: Any = tensor.detach().to(device)
            yield name, shards.full_tensor()
        elif hasattr(tensor, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([tensor]):
                yield name, tensor.detach()
        else:
            yield name, tensor.detach()


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float, device: torch.device) -> Tensor:
    """Scale gradients so that the norm of all of them is at most ``max_norm``; returns the norm before.

    It computes what ``torch.nn.utils.clip_grad_norm_`` does, also for shards that are kept in main memory. A norm that
    is not finite makes all gradients not finite.

    Args:
        device: where the norms of the ranks are added up.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    local = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    norm = torch.nn.utils.get_total_norm(local).to(device)
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        squared = norm.square()
        torch.distributed.all_reduce(squared)
        norm = squared.sqrt()
    factor = (max_norm / (norm + _NORM_EPSILON)).clamp(max=1.0)
    torch._foreach_mul_(local, factor.to(local[0].device))
    return norm
