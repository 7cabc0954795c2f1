"""What surrounds DeepSpeed's engine; ``test_fit.py`` trains with it."""

from __future__ import annotations

import pytest
import torch

from learner.config import LearnerConfig
from learner.distributed import Distributed
from learner.strategies.deepspeed_trainer import DeepSpeedTrainer, _Autocast, _settings
from rollout.errors import UserError
from tests.learner.toys import toy_model

CPU = torch.device("cpu")


def config(**changes: object) -> LearnerConfig:
    return LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1, "strategy": "deepspeed", **changes})


@pytest.mark.skipif(torch.distributed.is_initialized(), reason="another test has a process group")
def test_deepspeed_needs_a_process_group() -> None:
    with pytest.raises(UserError, match="needs a process group; start the learner with workers, or choose ddp"):
        DeepSpeedTrainer(config(), toy_model(), Distributed(0, 1, CPU))


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_holds_inside_the_engine_which_turns_off_one_around_it(enabled: bool) -> None:
    layer = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", enabled=False):
        output = _Autocast(layer, CPU, enabled)(torch.zeros(1, 4))
    assert output.dtype == (torch.bfloat16 if enabled else torch.float32)
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize(("stage", "moved"), [(1, {"optimizer"}), (2, {"optimizer"}), (3, {"optimizer", "param"})])
def test_offload_moves_weights_only_where_they_are_divided(stage: int, moved: set[str]) -> None:
    zero = _settings(config(zero_stage=stage, cpu_offload=True))["zero_optimization"]
    assert {name.removeprefix("offload_") for name in zero if name.startswith("offload_")} == moved
    assert not {"offload_optimizer", "offload_param"} & _settings(config(zero_stage=stage))["zero_optimization"].keys()
