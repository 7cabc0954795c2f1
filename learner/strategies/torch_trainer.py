"""Training with plain PyTorch: one process, DDP or FSDP2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.nn.parallel import DistributedDataParallel

from learner.batching import Batch
from learner.config import LearnerConfig
from learner.distributed import Distributed, check_precision, to_device
from learner.head import SelectedLogits, bare_model
from learner.losses.objective import objective
from learner.model import decoder_layers
from learner.model_inputs import model_inputs
from learner.optim import learning_rate_factor, make_optimizers
from learner.strategies.sharding import clip_gradients, full_weights, shard_with_fsdp2

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_BROADCAST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Trainer(Protocol):
    """Interface of a training strategy. All methods are called on all ranks."""

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> torch.Tensor:
        """Run forward and backward of one micro-batch and add its gradients.

        Args:
            coefficients: factor on each loss term; see `learner.losses.objective.term_coefficients`.
            last: whether it is the last micro-batch of the step on this rank.

        Returns:
            The contribution ``[S]`` of each loss term, without its lambda, on the trainer's device.
        """

    def update(self, fraction: float) -> tuple[float, float]:
        """Clip the gradients and run one optimizer step, when ``fraction`` of the budget is used.

        Returns:
            The learning rate, and the norm of the gradients before clipping.
        """

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the full tensors of the model one at a time; see `learner.strategies.sharding.full_weights`."""

    def state(self) -> dict[str, Any]:
        """Return weights and optimizer state for resuming; empty on ranks other than 0."""

    def restore(self, state: dict[str, Any]) -> None:
        """Load what `state` returned on rank 0; other ranks pass an empty dict."""


class TorchTrainer:
    """Trains in one process, with DDP (replicated weights) or with FSDP2 (sharded weights, gradients, optimizer)."""

    def __init__(self, config: LearnerConfig, model: Any, distributed: Distributed) -> None:
        self._config = config
        self._distributed = distributed
        self._sharded = config.strategy == "fsdp2" and distributed.world_size > 1
        self._autocast = config.precision == "bfloat16" and not self._sharded
        self._logits: Any = SelectedLogits(model.train())
        if config.compile:
            for layer in decoder_layers(model):
                layer.compile(dynamic=True)
        if self._sharded:
            shard_with_fsdp2(self._logits, model, config)
        else:
            model.to(distributed.device)
            if not getattr(bare_model(model), "is_loaded_in_4bit", False):
                model.float()
        if not self._sharded and distributed.world_size > 1:
            self._logits = DistributedDataParallel(self._logits)
        self._model = model
        self._optimizers = make_optimizers(model, config)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["full_lr"] = group["lr"]

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> torch.Tensor:
        device = self._distributed.device
        sync = nullcontext()
        if self._distributed.world_size > 1 and not self._sharded and not last:
            # FSDP2 reduces after every micro-batch, because ranks would keep unsharded gradients until the last one.
            sync = self._logits.no_sync()
        with sync:
            with torch.autocast(device.type, torch.bfloat16, enabled=self._autocast):
                logits = self._logits(model_inputs(batch, device), to_device(batch.positions, device))
            loss, values = objective(logits, batch, self._config.terms, coefficients)
            # Gradients are averaged over ranks, but the loss is the sum over ranks.
            (loss * self._distributed.world_size).backward()
        return values

    def update(self, fraction: float) -> tuple[float, float]:
        factor = learning_rate_factor(fraction, self._config)
        norm = clip_gradients(self._parameters, self._config.max_grad_norm, self._distributed.device)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return self._config.learning_rate * factor, float(norm)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return full_weights(self._model, self._distributed.device)

    def state(self) -> dict[str, Any]:
        optimizer = get_optimizer_state_dict(self._model, self._optimizers, options=_FULL)
        return {"model": get_model_state_dict(self._model, options=_FULL), "optimizer": optimizer}

    def restore(self, state: dict[str, Any]) -> None:
        options = _BROADCAST if self._distributed.world_size > 1 else StateDictOptions(full_state_dict=True)
        set_model_state_dict(self._model, state.get("model", {}), options=options)
        set_optimizer_state_dict(self._model, self._optimizers, state.get("optimizer", {}), options=options)


def make_trainer(config: LearnerConfig, model: Any, distributed: Distributed) -> Trainer:
    """Create the trainer of ``config.strategy``.

    Raises:
        UserError: the device does not compute in ``config.precision``, or DeepSpeed has no process group.
    """
    check_precision(config.precision, distributed)
    if config.strategy == "deepspeed":
        from learner.strategies.deepspeed_trainer import DeepSpeedTrainer

        return DeepSpeedTrainer(config, model, distributed)
    return TorchTrainer(config, model, distributed)
