"""A GPU without bfloat16 is refused before training begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from learner.config import LearnerConfig
from learner.precision import check_precision
from rollout.errors import UserError

EXACT = {"terms": [{"stream": "act", "divergence": "jsd", "signal": "exact"}], "teacher": {"model": "t"}}


@pytest.mark.parametrize(
    ("settings", "setting"), [({"precision": "bfloat16"}, "learner.precision"), (EXACT, "learner.teacher.precision")]
)
def test_bfloat16_is_refused_on_a_gpu_that_lacks_it_and_only_there(settings: dict[str, Any], setting: str) -> None:
    config = LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1, **settings})
    with pytest.raises(UserError, match=rf"{setting} is bfloat16.*set {setting}=float32"):
        check_precision(config, torch.device("cuda"), lambda: False)
    check_precision(config, torch.device("cuda"), lambda: True)
    check_precision(config, torch.device("cpu"), lambda: False)
    check_precision(LearnerConfig(epochs=1, batch_episodes=1), torch.device("cuda"), lambda: False)
