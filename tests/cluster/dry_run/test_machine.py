"""Workers are compared with the machine on which they are to run."""

from __future__ import annotations

import pytest

from cluster.config.load import load_recipe
from cluster.config.recipe import Resources
from cluster.dry_run.dry_run import dry_run
from cluster.dry_run.findings import Finding
from cluster.dry_run.machine import Machine
from cluster.runtime.backend import LocalBackend
from cluster.runtime.resources import ResourceRequest
from rollout.errors import UserError

LAPTOP = Machine(cores=2, gpus=0, memory_gib=16)
WORKSTATION = Machine(cores=16, gpus=1, memory_gib=64)


def found(machine: Machine, *overrides: str, recipe: str = "smoke", starts: bool = False) -> list[Finding]:
    plan = dry_run(load_recipe(recipe, overrides), machine=machine, starts=starts)
    return [finding for finding in plan.findings if "this machine" in finding.text]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["teacher.workers=64"], "needs 32.5 CPU at the same time (teacher 64 × 0.5 CPU"),
        (["teacher.resources.cpus=5"], "A teacher worker needs 5 CPU, and this machine does not have that much"),
        (["student.workers=9"], "needs 5 CPU at the same time"),
        (["teacher.resources.memory_gib=17"], "needs 0.5 CPU, 17 GiB memory"),
        (["teacher.workers=2", "teacher.resources.memory_gib=9"], "needs 18 GiB memory at the same time"),
    ],
)
@pytest.mark.parametrize("starts", [False, True])
def test_more_cores_or_memory_than_this_machine_has_are_a_problem(
    overrides: list[str], sentence: str, starts: bool
) -> None:
    (finding,) = found(LAPTOP, *overrides, starts=starts)
    assert finding.fatal
    assert sentence in finding.text


@pytest.mark.parametrize(
    "override", ["teacher.resources.gpus=1", "student.resources.gpus=0.25", "teacher.resources.custom={TPU: 1}"]
)
def test_a_recipe_for_other_machines_is_noted_in_a_dry_run_and_refused_at_the_start(override: str) -> None:
    (noted,) = found(LAPTOP, override)
    (refused,) = found(LAPTOP, override, starts=True)
    assert (noted.fatal, refused.fatal) == (False, True)
    assert "join a cluster with --address" in refused.text


def test_without_a_cluster_gpus_are_not_ignored_in_a_dry_run_either() -> None:
    (finding,) = found(Machine(cores=2, gpus=0, memory_gib=16, address="local"), "teacher.resources.gpus=1")
    assert finding.fatal
    assert "wants 1 GPU at the same time (teacher.resources.gpus), but this machine has 0" in finding.text


def test_on_a_cluster_this_machine_does_not_matter() -> None:
    elsewhere = Machine(cores=2, gpus=0, memory_gib=16, address="head:6379")
    assert found(elsewhere, "teacher.workers=64", "student.resources.gpus=1", starts=True) == []


def test_a_machine_that_is_large_enough_is_not_mentioned() -> None:
    assert found(WORKSTATION, "teacher.workers=60", "student.resources.gpus=1", starts=True) == []
    assert found(LAPTOP, recipe="quickstart", starts=True) == []


def test_weights_beyond_the_main_memory_are_a_problem_and_many_workers_a_note() -> None:
    large = ["teacher.engine.model=Qwen/Qwen2.5-32B", "student.engine.model=Qwen/Qwen2.5-0.5B"]
    (finding,) = found(LAPTOP, *large, recipe="quickstart")
    assert finding.fatal
    assert "the weights of Qwen/Qwen2.5-32B need" in finding.text
    (finding,) = found(Machine(2, 0, 4.0), recipe="quickstart")
    assert not finding.fatal
    assert "of main memory at the same time" in finding.text


def test_a_run_in_this_process_is_refused_gpus_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.runtime.backend.gpus", lambda: ["one"])
    backend = LocalBackend()
    backend.check([ResourceRequest("teacher", 1, Resources(gpus=1))])
    with pytest.raises(UserError, match="needs 2 GPU at the same time, but this machine has 1"):
        backend.check([ResourceRequest("teacher", 2, Resources(gpus=1))])
