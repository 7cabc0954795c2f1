"""The whole way through the house with the shipped models: houses, teacher, record, learner, new weights, report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.cli import main
from rollout.trajectory import Author, Kind
from rollout.trajectory.store import TrajectoryStore

TINY = [
    "collect.teacher_episodes=6",
    "collect.student_episodes=2",
    "evaluate.episodes=3",
    "agent.max_steps=12",
    "learner.keep=all",
    "learner.max_seconds=5",
    "learner.workers=1",
]


def stillhouse(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


def check(run: Path) -> None:
    """What must hold of any finished run of the quickstart recipe, however small."""
    report = json.loads((run / "report.json").read_text())
    assert report["schema"] == 1
    assert set(report["agents"]) == {"teacher", "student_before", "student"}
    assert all(agent["household"]["n"] == 3 for agent in report["agents"].values())
    assert report["rollouts"]["episodes"] == 8
    assert report["rollouts"]["errors"] == 0
    assert report["learner"]["steps"] >= 1
    assert (run / "checkpoints" / "round=000" / "model.safetensors").is_file()
    (student,) = {t.policy.weight_version for t in TrajectoryStore(str(run / "evaluation" / "student")).read()}
    assert student == 1
    for trajectory in TrajectoryStore(str(run / "trajectories" / "teacher" / "round=000")).read():
        written = [s for s in trajectory.segments if s.author is Author.MODEL]
        assert written
        assert all(s.teacher is not None and s.logprobs is not None for s in written)
        assert not any(s.kind in (Kind.REASON, Kind.ACT) for s in trajectory.segments if s.author is not Author.MODEL)


@pytest.mark.timeout(300)
def test_a_distillation_in_one_process_with_transformers(tmp_path: Path) -> None:
    engines = ["teacher.engine={type: transformers, model: 'builtin:household-teacher', device: cpu}"]
    engines += ["student.engine={type: transformers, model: 'builtin:household-base-student', device: cpu}"]
    run = tmp_path / "run"
    assert stillhouse("run", "quickstart", *TINY, *engines, "--address", "local", "--run-dir", str(run)) == 0
    check(run)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_distillation_on_ray_with_vllm(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert stillhouse("run", "quickstart", *TINY, "--run-dir", str(run)) == 0
    check(run)
