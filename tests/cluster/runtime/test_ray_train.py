"""What Ray Train is given, how failures of its processes are recorded and explained, and the watchdog of a process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import ControllerError, TrainingFailedError

from cluster.config.failures import LearnerPolicy
from cluster.config.recipe import LearnerRole
from cluster.run.directory import RunDirectory
from cluster.run.training_data import TrainRequest
from cluster.runtime import ray_train
from cluster.runtime.ray_train import RecordFailures, plain_error, run_config, scaling_config
from rollout.errors import UserError

DEATH = RayActorError(error_msg="The actor died because of an out-of-memory kill.")
PREEMPTION = RayActorError(error_msg="The node was reclaimed.", preempted=True)


def learner(**settings: Any) -> LearnerRole:
    return LearnerRole.model_validate({"model": "student", "epochs": 1, "batch_episodes": 1, **settings})


def request_in(folder: Path, round: int = 0) -> TrainRequest:
    return TrainRequest(learner(), str(folder), round, (), None, 1)


def group_error(**failures: Exception) -> TrainingFailedError:
    """What Ray Train raises at the end, by rank."""
    error = TrainingFailedError("Training failed due to worker errors")
    error.worker_failures = {int(rank[1:]): failure for rank, failure in failures.items()}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("policy", "limits"),
    [(LearnerPolicy(), (1, -1)), (LearnerPolicy(max_failures=4, max_preemption_failures=2), (4, 2))],
)
def test_ray_train_gets_the_policys_limits(tmp_path: Path, policy: LearnerPolicy, limits: tuple[int, int]) -> None:
    config = run_config(request_in(tmp_path, 3), tmp_path, policy)
    assert config.failure_config is not None
    assert (config.failure_config.max_failures, config.failure_config.max_preemption_failures) == limits
    assert (config.name, config.storage_path) == ("round=003", str(tmp_path))


@pytest.mark.parametrize(("gpus", "reserved"), [(0, {"CPU": 2.0}), (1, {"CPU": 2.0, "GPU": 1})])
def test_ray_train_gets_the_number_of_processes_and_what_each_reserves(gpus: int, reserved: dict[str, float]) -> None:
    config = scaling_config(learner(workers=3, resources={"cpus": 2, "gpus": gpus}))
    assert (config.num_workers, config.use_gpu, config.resources_per_worker) == (3, gpus > 0, reserved)


def test_a_group_may_be_smaller_than_wanted() -> None:
    config = scaling_config(learner(workers=4, min_workers=2))
    assert (config.min_workers, config.max_workers) == (2, 4)  # type: ignore[attr-defined]  # typed as Train V1's


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"workers": 2, "min_workers": 3}, "min_workers is 3, more than workers, 2"),
        ({"workers": 2, "min_workers": 1, "strategy": "deepspeed"}, "set strategy to ddp or fsdp2"),
    ],
)
def test_impossible_group_sizes_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        learner(**settings)


def test_restarts_of_the_group_are_recorded_with_their_reason_until_the_limit_is_reached(tmp_path: Path) -> None:
    callback = RecordFailures(request_in(tmp_path, 1), LearnerPolicy(max_failures=1))
    callback.after_exception(None, {1: DEATH})
    callback.after_exception(None, {0: PREEMPTION})
    callback.after_exception(None, {0: DEATH})
    rows = RunDirectory(tmp_path).read_metrics()
    assert [(row["kind"], row["role"]) for row in rows] == [
        ("restart", "learner"),
        ("restart", "learner"),
        ("retired", "learner"),
    ]
    assert "training process 1 failed (The actor died because of an out-of-memory kill.)" in rows[0]["note"]
    assert rows[0]["note"].endswith("training starts again, restart 1 of at most 1")
    assert rows[1]["note"] == "round 1: a node was preempted; training starts again, restart 1"
    assert rows[2]["note"].endswith("training ends")


def test_processes_that_died_too_often_are_a_sentence_with_the_limit() -> None:
    collateral = RuntimeError("Connection closed by peer")
    error = plain_error(group_error(_0=collateral, _1=DEATH), LearnerPolicy(max_failures=2))
    assert isinstance(error, UserError)
    assert "failures.learner.max_failures is 2" in str(error)
    assert "the same command goes on from there" in str(error)


@pytest.mark.parametrize(
    ("deaths", "limit", "kinds"), [(1, 1, ["restart"]), (2, 1, ["restart", "retired"]), (3, -1, 3 * ["restart"])]
)
def test_training_starts_again_when_its_controller_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, limit: int, kinds: list[str]
) -> None:
    """Ray's memory monitor kills several processes of a node at once, and the controller may be among them."""
    outcomes: list[Exception | None] = [ControllerError(OutOfMemoryError("low on memory")) for _ in range(deaths)]
    outcomes.append(None)

    class Trainer:
        def __init__(self, *_: object, **settings: object) -> None:
            pass

        def fit(self) -> None:
            if (error := outcomes.pop(0)) is not None:
                raise error

    monkeypatch.setattr(ray_train, "TorchTrainer", Trainer)
    sentence = r"controller died \(low on memory\), and failures.learner.max_failures is 1"
    with pytest.raises(UserError, match=sentence) if "retired" in kinds else nullcontext():
        ray_train.train_with_ray(request_in(tmp_path), tmp_path, LearnerPolicy(max_failures=limit))
    assert [row["kind"] for row in RunDirectory(tmp_path).read_metrics()] == kinds


def test_a_sentence_of_a_process_is_passed_on_and_a_bug_stays_what_it_is() -> None:
    wrapped = RuntimeError("task failed")
    wrapped.__cause__ = UserError("there is nothing to train on.")
    assert str(plain_error(group_error(_0=wrapped), LearnerPolicy())) == "there is nothing to train on."
    bug = group_error(_0=IndexError("list index out of range"))
    assert plain_error(bug, LearnerPolicy()) is bug


@pytest.mark.parametrize(("pause_s", "code"), [("0.0", 0), ("60.0", 1)])
def test_a_process_that_makes_no_progress_writes_its_stacks_and_ends(pause_s: str, code: int) -> None:
    program = (
        "import sys, time\n"
        "from cluster.runtime.ray_train import watchdog\n"
        "with watchdog(3.0) as alive:\n"
        "    for _ in range(2):\n"
        "        alive()\n"
        "        time.sleep(float(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, pause_s], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert ("Timeout" in done.stderr and "<string>" in done.stderr) == bool(code)
