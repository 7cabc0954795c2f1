"""A whole run in small: scripted engines, tiny houses, and a model of a few thousand parameters that really trains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from cluster.config.recipe import Recipe
from rollout.models import model_folder

TOKENIZER = "builtin:household-tokenizer"


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a one-layer model with random weights and the built-in models' tokenizer."""
    from learner.config import ScratchConfig
    from learner.model import from_scratch

    folder = tmp_path_factory.mktemp("toy-model")
    tokenizer = model_folder(TOKENIZER)
    architecture = ScratchConfig(
        tokenizer=tokenizer, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=2, intermediate_size=16
    )
    from_scratch(architecture).save_pretrained(folder)
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    return str(folder)


@pytest.fixture
def toy_recipe(toy_model: str) -> Callable[..., Recipe]:
    """Makes a small whole recipe; keyword arguments go before its sections."""

    def make(**sections: Any) -> Recipe:
        settings: dict[str, Any] = {
            "name": "toy",
            "environment": {"type": "household", "size": "small"},
            "agent": {"max_steps": 30, "max_tokens": 3000, "sampling": {"max_tokens": 64}},
            "teacher": {"engine": scripted("household-expert"), "concurrency": 8, "resources": {"cpus": 0.5}},
            "student": {"engine": scripted("household-random"), "concurrency": 8, "resources": {"cpus": 0.5}},
            "collect": {"teacher_episodes": 12, "student_episodes": 5},
            "learner": {"model": toy_model, "epochs": 1, "batch_episodes": 4, "resources": {"cpus": 1}},
            "evaluate": {"episodes": 6},
        }
        return Recipe.model_validate({**settings, **sections})

    return make


def scripted(policy: str, **settings: Any) -> dict[str, Any]:
    """Settings of a scripted engine."""
    return {"type": "scripted", "tokenizer": TOKENIZER, "policy": policy, **settings}
