"""Forward, backward and update of one model on one or many processes: alone, DDP or FSDP2."""

from __future__ import annotations

from collections.abc import Sequence
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
from learner.distributed import Distributed
from learner.head import SelectedLogits
from learner.losses.objective import objective
from learner.model import decoder_layers
from learner.optim import learning_rate_factor, make_optimizers

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Trainer(Protocol):
    """What the training loop asks of a strategy. All methods are called on all ranks."""

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> list[float]:
        """Add one pass's gradients; returns the terms' values. ``last``: the step's last pass on this rank."""
        ...

    def update(self, fraction: float) -> tuple[float, float]:
        """One optimizer step when ``fraction`` of the budget is used: (learning rate, norm of the gradients)."""
        ...

    def weights(self) -> dict[str, torch.Tensor]:
        """The model's whole state on the CPU; empty on ranks other than 0."""
        ...

    def state(self) -> dict[str, Any]:
        """Weights and optimizer state to resume from; empty on ranks other than 0."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse; ranks other than 0 give an empty dict."""
        ...


class TorchTrainer:
    """Plain PyTorch: one process, DDP (weights on each) or FSDP2 (weights, gradients and optimizer state cut up)."""

    def __init__(self, config: LearnerConfig, model: Any, distributed: Distributed) -> None:
        self._config = config
        self._world = distributed
        self._rows: Any = SelectedLogits(model.to(distributed.device).train())
        self._sharded = config.strategy == "fsdp2" and distributed.size > 1
        self._autocast = config.precision == "bfloat16" and not self._sharded
        if self._sharded:
            _shard(self._rows, model, config.precision)
        elif distributed.size > 1:
            self._rows = DistributedDataParallel(self._rows)
        self._model = model
        self._optimizers = make_optimizers(model, config)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["full_lr"] = group["lr"]

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> list[float]:
        device = self._world.device
        quiet = nullcontext()
        if self._world.size > 1 and not self._sharded and not last:
            quiet = self._rows.no_sync()  # under FSDP2 whole gradients would stay on each rank until the last pass
        with quiet:
            with torch.autocast(device.type, torch.bfloat16, enabled=self._autocast):
                logits = self._rows(
                    torch.from_numpy(batch.input_ids).to(device), torch.from_numpy(batch.positions).to(device)
                )
            loss, values = objective(logits, batch, self._config.terms, coefficients)
            (loss * self._world.size).backward()  # the ranks' gradients are averaged, and the loss is their sum
        return [float(value) for value in values.tolist()]

    def update(self, fraction: float) -> tuple[float, float]:
        factor = learning_rate_factor(fraction, self._config)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return self._config.learning_rate * factor, float(whole)

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(get_model_state_dict(self._model, options=_WHOLE))  # type: ignore[arg-type]  # all are tensors

    def state(self) -> dict[str, Any]:
        optimizer = get_optimizer_state_dict(self._model, self._optimizers, options=_WHOLE)
        return {"model": self.weights(), "optimizer": optimizer}

    def restore(self, state: dict[str, Any]) -> None:
        options = _SPREAD if self._world.size > 1 else StateDictOptions(full_state_dict=True)
        set_model_state_dict(self._model, state.get("model", {}), options=options)
        set_optimizer_state_dict(self._model, self._optimizers, state.get("optimizer", {}), options=options)


def _shard(rows: SelectedLogits, model: Any, precision: str) -> None:
    """In bfloat16 layers are gathered as such; autocast would keep a copy of every gathered weight for a whole pass."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    half = torch.bfloat16 if precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    for layer in decoder_layers(model):
        fully_shard(layer, mp_policy=policy)
    fully_shard(rows, mp_policy=policy)


def make_trainer(config: LearnerConfig, model: Any, distributed: Distributed) -> Trainer:
    """The strategy that the configuration names."""
    if config.strategy == "deepspeed":
        from learner.strategies.deepspeed_trainer import DeepSpeedTrainer

        return DeepSpeedTrainer(config, model, distributed)
    return TorchTrainer(config, model, distributed)
