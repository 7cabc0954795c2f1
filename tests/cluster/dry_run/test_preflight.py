"""The preflight checks what a run still has to do, and never changes what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.dry_run.dry_run import DryRun, dry_run
from cluster.dry_run.findings import Finding
from cluster.dry_run.preflight import acting_roles, notes, preflight, require_no_problem, store_findings
from cluster.run.directory import open_run
from rollout.errors import UserError

LEARNER = "learner={scratch: {tokenizer: 'builtin:household-tokenizer'}, epochs: 1, batch_episodes: 1}"


def trains_on(store: Path) -> Recipe:
    return load_recipe(
        "smoke", [LEARNER, "student=null", "evaluate=null", f"collect={{teacher_episodes: 1, also: ['{store}']}}"]
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run."""
    folder = tmp_path_factory.mktemp("preflight") / "run"
    recipe = load_recipe("smoke")
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local")
    return folder


def test_a_role_whose_episodes_are_stored_needs_no_engine(finished: Path, tmp_path: Path) -> None:
    recipe, before = load_recipe("smoke"), snapshot(finished)
    assert acting_roles(recipe, {"rollout", "evaluate"}, finished) == set()
    assert acting_roles(load_recipe("smoke", ["evaluate.episodes=5"]), {"rollout"}, finished) == set()
    more = load_recipe("smoke", ["evaluate.episodes=5", "evaluate.agents=[teacher]"])
    assert acting_roles(more, {"rollout", "evaluate"}, finished) == {"teacher"}
    assert acting_roles(recipe, {"rollout"}, tmp_path / "new") == {"teacher", "student"}
    assert snapshot(finished) == before
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_repeated_although_its_endpoint_is_gone(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Finding("teacher: nobody answers", fatal=True)
    monkeypatch.setattr("cluster.dry_run.preflight.endpoint_findings", lambda *_: iter([gone]))
    recipe = load_recipe("smoke")
    assert gone not in preflight(recipe, address="local", folder=finished).findings
    assert gone in preflight(recipe, address="local").findings


def test_a_store_of_another_run_is_read_and_left_as_it_is(finished: Path, tmp_path: Path) -> None:
    store = finished / "trajectories" / "teacher" / "round=000"
    before = snapshot(finished)
    assert list(store_findings(trains_on(store), {"learner"})) == []
    assert snapshot(finished) == before
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "shard.parquet").write_bytes(b"no parquet")
    (finding,) = store_findings(trains_on(damaged), {"learner"})
    assert finding.fatal
    assert "holds no episode to train on" in finding.text
    assert [path.name for path in damaged.iterdir()] == ["shard.parquet"]
    assert list(store_findings(trains_on(damaged), {"teacher"})) == []


def planned(*overrides: str, gpu_gib: float = 80.0) -> DryRun:
    return dry_run(load_recipe("own-models", overrides), gpu_gib)


def test_an_estimate_of_memory_is_noted_and_refuses_no_run() -> None:
    plan = planned(gpu_gib=16)
    assert not plan.can_run
    require_no_problem(plan)
    assert any("does not fit its GPU" in finding.text for finding in notes(plan))
    assert not any(finding.fatal for finding in notes(plan))


def test_missing_data_refuses_a_run_and_not_a_dry_run() -> None:
    plan = planned("environment={type: math, source: gsm8k, data_dir: /nowhere}")
    assert plan.can_run
    with pytest.raises(UserError, match="/nowhere does not exist"):
        require_no_problem(plan)


def test_a_temporary_folder_that_is_too_long_is_noted_and_a_chosen_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * 100)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    (note,) = [f for f in preflight(load_recipe("smoke"), address="local").findings if "TMPDIR" in f.text]
    assert not note.fatal
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 100)
    (problem,) = [f for f in preflight(load_recipe("smoke"), address="local").findings if "RAY_TMPDIR has" in f.text]
    assert problem.fatal
