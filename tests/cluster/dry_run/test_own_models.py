"""The command of the README for models of one's own is planned as that section says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.dry_run.dry_run import dry_run
from cluster.dry_run.machine import Machine
from rollout.engines.vllm_engine import VllmConfig

ROOT = Path(__file__).parents[3]
COMMAND = re.compile(
    r"^## Your own models\n.*?^    \.venv/bin/stillhouse run (?P<text>.*?)\n\n", re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def arguments() -> list[str]:
    match = COMMAND.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert match is not None
    return shlex.split(match["text"].replace("\\\n", " "))


def test_the_command_distills_7b_to_half_a_billion_in_bfloat16_with_adapters_and_adamw(arguments: list[str]) -> None:
    recipe = load_recipe(arguments[0], arguments[1:])
    learner, teacher, student = recipe.learner, recipe.teacher.engine, recipe.student and recipe.student.engine
    assert isinstance(teacher, VllmConfig)
    assert isinstance(student, VllmConfig)
    assert learner is not None
    assert (teacher.model, student.model) == ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")
    assert (teacher.dtype, student.dtype, learner.precision) == ("bfloat16", "bfloat16", "bfloat16")
    assert learner.optimizer == "adamw"
    assert learner.lora is not None
    assert 1e-5 <= learner.learning_rate <= 3e-4
    assert student.max_lora_rank >= learner.lora.rank


def test_the_command_fits_one_gpu_of_80_gib_and_nothing_runs_on_the_cpu(arguments: list[str]) -> None:
    plan = dry_run(load_recipe(arguments[0], arguments[1:]), machine=Machine(16, 1, 128.0), starts=True)
    assert plan.can_run
    assert {use.device for use in plan.memory} == {"GPU"}
    assert all(use.fits for use in plan.memory)
    assert max(group.gpus for group in plan.groups) <= 1
    assert not [finding.text for finding in plan.findings if "CPU" in finding.text]
