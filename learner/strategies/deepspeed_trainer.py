"""Training with DeepSpeed ZeRO, which shards optimizer state, gradients (stage 2) and weights (stage 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learner.checkpoints.tensor_files import OWN
from learner.config import LearnerConfig
from learner.data.batching import Batch
from learner.data.model_inputs import model_inputs
from learner.distributed import Distributed
from learner.losses.chunked import ChunkedLoss
from learner.strategies.optim import learning_rate_factor, make_optimizers
from learner.strategies.sharding import full_weights, partition_with_zero3
from learner.teacher import FrozenTeacher
from rollout.errors import UserError


class DeepSpeedTrainer:
    """Trains with DeepSpeed; see `learner.trainer.Trainer` for the methods.

    It computes what `learner.strategies.torch_trainer.TorchTrainer` does: the same optimizer with the same parameter
    groups, float32 weights, and autocast for bfloat16.

    Raises:
        UserError: there is no process group.
    """

    def __init__(
        self, config: LearnerConfig, model: Any, distributed: Distributed, teacher: FrozenTeacher | None = None
    ) -> None:
        if not dist.is_initialized():
            raise UserError("strategy deepspeed needs a process group; start the learner with workers, or choose ddp.")
        import deepspeed

        self._config = config
        self._distributed = distributed
        self._model = model.train()
        (self._adamw,) = make_optimizers(model, config)  # before the matrices are flattened, which would not decay
        if config.zero_stage == 3:
            partition_with_zero3(model, _settings(config))
        else:
            model.to(distributed.device).float()
        loss = ChunkedLoss(model, config.terms, teacher)
        self._engine, *_ = deepspeed.initialize(
            model=_Autocast(loss, distributed.device, config.precision == "bfloat16"),
            optimizer=self._adamw,
            config=_settings(config),
            dist_init_required=False,
        )

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> Tensor:
        engine, device = self._engine, self._distributed.device
        engine.set_gradient_accumulation_boundary(last)
        loss, values = engine(model_inputs(batch, device), batch, coefficients)
        # DeepSpeed averages gradients over ranks, but the loss is the sum over ranks.
        engine.backward(loss * self._distributed.world_size)
        return values

    def update(self, fraction: float) -> tuple[float, float]:
        rate = self._config.learning_rate * learning_rate_factor(fraction, self._config)
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._engine.step()
        return rate, float(self._engine.get_global_grad_norm() or 0.0)

    def discard(self) -> None:
        """Run a step at a learning rate of 0, because DeepSpeed keeps gradients in several places.

        Weights do not change, nor does anything if a gradient is not finite; otherwise Adam's moments do.
        """
        for group in self._adamw.param_groups:
            group["lr"] = 0.0
        self._engine.step()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return full_weights(self._model, self._distributed.device)

    def partitions(self) -> dict[str, Tensor]:
        """This rank's part of the weights that are trained and of the optimizer's state: the tensors in use, by name.

        They depend on the number of ranks. Call `reload` after changing them.
        """
        named: dict[str, Tensor] = {}
        for i, weights in enumerate(self._flat_weights()):
            state = self._adamw.state[weights]
            if not state:  # as AdamW does in its first step
                state["step"] = torch.zeros((), device=weights.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weights), torch.zeros_like(weights)
            named |= {f"{i}.weights": weights.data, **{f"{i}.{key}": value for key, value in state.items()}}
        return named

    def reload(self) -> None:
        """Copy the weights of `partitions` to those that the model computes with. Called on all ranks."""
        zero = self._engine.optimizer
        if self._config.zero_stage < 3:
            zero.update_lp_params()
            return
        zero._partition_all_parameters()
        for i in range(len(self._flat_weights())):
            zero._reassign_or_swap_out_partitioned_parameters(i)
        if zero.persistent_parameters:
            zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    def _flat_weights(self) -> list[Tensor]:
        zero, stage = self._engine.optimizer, self._config.zero_stage
        weights: list[Tensor] = (
            zero.fp32_partitioned_groups_flat if stage == 3 else zero.single_partition_of_fp32_groups
        )
        return weights

    def state(self, *, optimizer: bool = True) -> dict[str, Tensor]:
        parts = self.partitions().items()
        return {f"{OWN}{name}": tensor for name, tensor in parts if optimizer or name.endswith(".weights")}

    def restored(self) -> None:
        self.reload()


class _Autocast(nn.Module):
    """Runs a module under autocast. DeepSpeed turns off an autocast that is active around its engine."""

    def __init__(self, module: nn.Module, device: torch.device, enabled: bool) -> None:
        super().__init__()
        self.module = module
        self._device, self._enabled = device, enabled

    def forward(self, *arguments: Any) -> Any:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._enabled):
            return self.module(*arguments)


def _settings(config: LearnerConfig) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.cpu_offload:
        memory = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        zero |= {"offload_optimizer": memory, **({"offload_param": memory} if config.zero_stage == 3 else {})}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 30,
    }
