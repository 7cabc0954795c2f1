"""A run says where the code that its agents write is run, and does not start where it cannot be run safely."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from rollout.environments.plugins import code_sandbox, find_plugin
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.tiers import available_tiers, tier_sentence
from tests.cluster.conftest import scripted

ONE_EPISODE: dict[str, Any] = {
    "student": None,
    "learner": None,
    "evaluate": None,
    "collect": {"teacher_episodes": 1},
    "teacher": {"engine": scripted("expert")},
}
WITH_PYTHON = {"type": "math", "python": "sandbox"}


def shown(recipe: Recipe, folder: Path) -> str:
    """What the screen of a run shows."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", screen=Screen(file))
    return file.getvalue()


def test_code_is_run_where_the_style_or_the_environment_says() -> None:
    maths = find_plugin("math").config_model()
    sandbox = SandboxConfig(memory_mib=300)
    assert code_sandbox(maths(), AgentConfig()) is None
    assert code_sandbox(maths(python="sandbox", sandbox=sandbox), AgentConfig()) == sandbox
    assert code_sandbox(maths(), AgentConfig(style="codeact", sandbox=sandbox)) == sandbox


def test_the_tier_in_force_is_said_once_however_many_workers_start(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    tier = next((status.tier for status in available_tiers()[:2] if status.works), None)
    if tier is None:
        pytest.skip("no isolated sandbox works on this machine")
    recipe = toy_recipe(**ONE_EPISODE, environment=WITH_PYTHON)
    two_workers = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"workers": 2})})
    assert shown(two_workers, tmp_path).replace("\n", " ").count(tier_sentence(tier)) == 1


def test_a_run_without_code_says_nothing_of_a_sandbox(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    assert "model-written code" not in shown(toy_recipe(**ONE_EPISODE), tmp_path)


def test_a_sandbox_that_cannot_be_had_stops_the_run_before_an_episode(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    weak = {**WITH_PYTHON, "sandbox": {"tier": "rlimits"}}
    with pytest.raises(UserError, match="tier rlimits is weak .*set allow_weak: true"):
        shown(toy_recipe(**ONE_EPISODE, environment=weak), tmp_path)
    assert not list(tmp_path.glob("trajectories/**/*.parquet"))
