"""Training with DeepSpeed ZeRO, which shards optimizer state, gradients (stage 2) and weights (stage 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from learner.batching import Batch
from learner.config import LearnerConfig
from learner.distributed import Distributed
from learner.losses.chunked import ChunkedLoss
from learner.model_inputs import model_inputs
from learner.optim import learning_rate_factor
from learner.teacher import FrozenTeacher
from rollout.errors import UserError


class DeepSpeedTrainer:
    """Trains with DeepSpeed; see `learner.strategies.torch_trainer.Trainer` for the methods.

    Its intermediate checkpoints hold weights only, so the moments of Adam are reset by a resume.

    Raises:
        UserError: there is no process group.
    """

    def __init__(
        self, config: LearnerConfig, model: Any, distributed: Distributed, teacher: FrozenTeacher | None = None
    ) -> None:
        if not torch.distributed.is_initialized():
            raise UserError("strategy deepspeed needs a process group; start the learner with workers, or choose ddp.")
        self._config = config
        self._distributed = distributed
        self._teacher = teacher
        self._model = model.to(distributed.device).train()
        self._created: Any = None

    @property
    def _engine(self) -> Any:
        """The DeepSpeed engine, created at first use, because weights cannot be replaced after that."""
        if self._created is None:
            import deepspeed

            self._created, *_ = deepspeed.initialize(
                model=ChunkedLoss(self._model, self._config.terms, self._teacher),
                model_parameters=[p for p in self._model.parameters() if p.requires_grad],
                config=_settings(self._config),
                dist_init_required=False,
            )
        return self._created

    def accumulate(self, batch: Batch, coefficients: Sequence[float], last: bool) -> list[float]:
        engine, device = self._engine, self._distributed.device
        engine.set_gradient_accumulation_boundary(last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"):
            loss, values = engine(model_inputs(batch, device), batch, coefficients)
        # DeepSpeed averages gradients over ranks, but the loss is the sum over ranks.
        engine.backward(loss * self._distributed.world_size)
        return [float(value) for value in values.tolist()]

    def update(self, fraction: float) -> tuple[float, float]:
        rate = self._config.learning_rate * learning_rate_factor(fraction, self._config)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return rate, float(self._engine.get_global_grad_norm() or 0.0)

    def weights(self) -> dict[str, torch.Tensor]:
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(self._model.parameters()), enabled=self._config.zero_stage == 3):
            full = self._model.state_dict() if self._distributed.rank == 0 else {}
            return {name: tensor.detach().cpu().clone() for name, tensor in full.items()}

    def state(self) -> dict[str, Any]:
        return {"model": self.weights()}

    def restore(self, state: dict[str, Any]) -> None:
        if "model" in state:
            self._model.load_state_dict(state["model"])


def _settings(config: LearnerConfig) -> dict[str, Any]:
    adam = {
        "lr": config.learning_rate,
        "betas": [config.adam_beta1, config.adam_beta2],
        "weight_decay": config.weight_decay,
        "torch_adam": True,
        "adam_w_mode": True,
    }
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
        "optimizer": {"type": "AdamW", "params": adam},
        "zero_optimization": {"stage": config.zero_stage},
        "steps_per_print": 1 << 30,
    }
