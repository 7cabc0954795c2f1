"""Training with plain PyTorch: one process, DDP or FSDP2."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
)
from torch.nn.parallel import DistributedDataParallel

from learner.config import LearnerConfig
from learner.data.batching import Batch
from learner.data.model_inputs import model_inputs
from learner.distributed import Distributed
from learner.head import bare_model
from learner.losses.chunked import ChunkedLoss
from learner.model import decoder_layers
from learner.strategies.optim import learning_rate_factor, make_optimizers
from learner.strategies.sharding import clip_gradients, full_weights, shard_with_fsdp2
from learner.teacher import FrozenTeacher
from learner.trainer import Trainer

_TRAINED = StateDictOptions(ignore_frozen_params=True)
_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


class TorchTrainer:
    """Trains in one process, with DDP (replicated weights) or with FSDP2 (sharded weights, gradients, optimizer)."""

    def __init__(
        self, config: LearnerConfig, model: Any, distributed: Distributed, teacher: FrozenTeacher | None = None
    ) -> None:
        self._config = config
        self._distributed = distributed
        self._sharded = config.strategy == "fsdp2" and distributed.world_size > 1
        self._autocast = config.precision == "bfloat16" and not self._sharded
        self._loss: Any = ChunkedLoss(model.train(), config.terms, teacher)
        if config.compile:
            for layer in decoder_layers(model):
                layer.compile(dynamic=True)
        if self._sharded:
            shard_with_fsdp2(self._loss, model, config)
            self._loss.float()
            if teacher is not None:
                shard_with_fsdp2(teacher.decoder, teacher.model, config)
        else:
            model.to(distributed.device)
            if not getattr(bare_model(model), "is_loaded_in_4bit", False):
                model.float()
        if not self._sharded and distributed.world_size > 1:
            self._loss = DistributedDataParallel(self._loss)
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
            sync = self._loss.no_sync()
        with sync:
            with torch.autocast(device.type, torch.bfloat16, enabled=self._autocast):
                loss, values = self._loss(model_inputs(batch, device), batch, coefficients)
            # Gradients are averaged over ranks, but the loss is the sum over ranks.
            (loss * self._distributed.world_size).backward()
        return values

    def update(self, fraction: float) -> tuple[float, float]:
        factor = learning_rate_factor(fraction, self._config)
        norm = clip_gradients(self._parameters, self._config.max_grad_norm, self._distributed.device)
        grad_norm = float(norm)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            if math.isfinite(grad_norm):
                optimizer.step()
        self.discard()
        return self._config.learning_rate * factor, grad_norm

    def discard(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return full_weights(self._model, self._distributed.device)

    def state(self, *, optimizer: bool = True) -> dict[str, torch.Tensor]:
        found: dict[str, Any] = {"model": get_model_state_dict(self._model, options=_TRAINED)}
        if optimizer:
            found["optimizer"] = get_optimizer_state_dict(self._model, self._optimizers, options=_FLAT)
        return {
            f"{part}/{name}": value
            for part, values in found.items()
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }

    def restored(self) -> None:
        """Nothing to do: the tensors of `state` are those of the model."""


def make_trainer(
    config: LearnerConfig, model: Any, distributed: Distributed, teacher: FrozenTeacher | None = None
) -> Trainer:
    """Create the trainer of ``config.strategy``. The ``teacher`` is needed for terms with the signal ``exact``.

    Raises:
        UserError: DeepSpeed has no process group.
    """
    if teacher is not None:
        teacher.model.to(distributed.device)
    if config.strategy == "deepspeed":
        from learner.strategies.deepspeed_trainer import DeepSpeedTrainer

        return DeepSpeedTrainer(config, model, distributed, teacher)
    return TorchTrainer(config, model, distributed, teacher)
