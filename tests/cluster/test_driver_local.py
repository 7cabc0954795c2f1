"""A whole run in this process: what is played, trained and reported, what is skipped, and what ends in a sentence."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.config.collect import Role
from cluster.config.recipe import Recipe
from cluster.driver import PHASES, Driver, run
from cluster.run.directory import RunDirectory, open_run
from cluster.run.plan import make_plan
from cluster.run.progress import Screen
from cluster.run.status import run_status
from cluster.run.write_report import write_run_report
from cluster.runtime.backend import LocalBackend
from cluster.runtime.rollout_worker import RolloutWorker
from rollout.errors import UserError
from rollout.trajectory import Cause, Failure, Outcome, StopReason, Trajectory
from rollout.trajectory.store import TrajectoryStore

MakeRecipe = Callable[..., Recipe]


def go(recipe: Recipe, folder: Path, phases: Collection[str] = PHASES) -> str:
    """Run in this process; gives what the screen showed."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", phases=phases, screen=Screen(file))
    return file.getvalue()


def stored(folder: Path, *parts: str) -> list[Trajectory]:
    return list(TrajectoryStore(folder.joinpath(*parts), read_only=True).summaries())


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def files(folder: Path) -> dict[str, int]:
    """Data files of a run with their time of change."""
    kept = [*folder.glob("**/*.parquet"), *folder.glob("checkpoints/**/*.safetensors")]
    return {str(path): path.stat().st_mtime_ns for path in kept}


def test_a_run_collects_with_both_roles_trains_evaluates_all_agents_and_reports(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    shown = go(toy_recipe(), tmp_path)
    assert len(stored(tmp_path, "trajectories", "teacher", "round=000")) == 12
    assert len(stored(tmp_path, "trajectories", "student", "round=000")) == 5
    assert (tmp_path / "checkpoints" / "round=000" / "model.safetensors").is_file()
    found = report(tmp_path)
    assert {agent: figures["household"]["n"] for agent, figures in found["agents"].items()} == {
        "teacher": 6,
        "student_before": 6,
        "student": 6,
    }
    assert found["agents"]["teacher"]["household"]["success"] == 1.0
    assert found["rollouts"]["episodes"] == 17
    assert found["rollouts"]["errors"] == 0
    assert found["learner"]["steps"] == 3
    assert {"start", "collect", "train", "evaluate"} <= set(found["wall_seconds"])
    assert "teacher collects: 12 of 12 episodes" in shown
    assert "student_before" in shown


def test_all_agents_are_evaluated_on_the_same_held_out_tasks(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    go(toy_recipe(), tmp_path)
    tasks = [{s.identity.task for s in stored(tmp_path, "evaluation", agent)} for agent in ("teacher", "student")]
    train = {s.identity.task for s in stored(tmp_path, "trajectories", "teacher", "round=000")}
    assert tasks[0] == tasks[1]
    assert not tasks[0] & train


def test_a_trained_student_is_evaluated_with_the_weights_of_its_training(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    go(toy_recipe(), tmp_path)
    assert {s.policy.weight_version for s in stored(tmp_path, "evaluation", "student_before")} == {0}
    assert {s.policy.weight_version for s in stored(tmp_path, "evaluation", "student")} == {1}


def test_each_round_has_new_tasks_and_the_student_acts_with_the_weights_of_the_round_before(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    go(toy_recipe(rounds=2), tmp_path)
    rounds = [stored(tmp_path, "trajectories", "student", f"round=00{number}") for number in (0, 1)]
    assert [{s.policy.weight_version for s in summaries} for summaries in rounds] == [{0}, {1}]
    assert not {s.identity.task for s in rounds[0]} & {s.identity.task for s in rounds[1]}
    assert {s.policy.weight_version for s in stored(tmp_path, "evaluation", "student")} == {2}
    assert (tmp_path / "checkpoints" / "round=001").is_dir()


def test_a_model_is_widened_once_and_not_again_each_round(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path
) -> None:
    learner = {"model": toy_model, "widen": 2, "epochs": 1, "batch_episodes": 4}
    go(toy_recipe(rounds=2, learner=learner, evaluate=None), tmp_path)
    configs = [tmp_path / "checkpoints" / f"round=00{number}" / "config.json" for number in (0, 1)]
    assert [json.loads(config.read_text())["hidden_size"] for config in configs] == [32, 32]


def test_a_student_that_grew_acts_in_an_engine_of_its_new_size(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path
) -> None:
    """Also where it has nothing to play between the first training and the last."""
    recipe = toy_recipe(
        rounds=2,
        agent={"max_steps": 2, "max_tokens": 600, "sampling": {"max_tokens": 8}},
        student={"engine": {"type": "transformers", "model": toy_model}, "resources": {"cpus": 0.5}},
        collect={"teacher_episodes": 4},
        learner={"widen": 2, "epochs": 1, "batch_episodes": 4, "keep": "all"},
        evaluate={"episodes": 2, "agents": ["student_before", "student"]},
    )
    shown = go(recipe, tmp_path)
    assert shown.count("student engine starts: ") == 2
    assert {s.policy.weight_version for s in stored(tmp_path, "evaluation", "student")} == {2}


def test_a_finished_run_starts_no_engine_and_changes_no_file_when_it_is_started_again(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    go(toy_recipe(), tmp_path)
    before, found = files(tmp_path), report(tmp_path)["agents"]
    shown = go(toy_recipe(), tmp_path)
    assert "engine starts" not in shown
    assert files(tmp_path) == before
    assert report(tmp_path)["agents"] == found


def test_phases_one_by_one_come_to_the_same_as_a_whole_run(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    for phase in ("rollout", "train", "evaluate"):
        go(toy_recipe(), tmp_path / "parts", {phase})
    go(toy_recipe(), tmp_path / "whole")
    parts, whole = report(tmp_path / "parts"), report(tmp_path / "whole")
    for agent, figures in whole["agents"].items():
        assert parts["agents"][agent]["household"]["success"] == figures["household"]["success"]
    assert parts["learner"]["loss_last"] == pytest.approx(whole["learner"]["loss_last"])


def test_training_before_anything_is_collected_says_what_to_do_first(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="12 of 12 episodes are missing.*stillhouse rollout"):
        go(toy_recipe(), tmp_path, {"train"})


def test_evaluating_before_training_evaluates_who_can_be_and_says_who_cannot(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    shown = go(toy_recipe(), tmp_path, {"evaluate"})
    assert "round 0 is not trained yet" in shown
    assert set(report(tmp_path)["agents"]) == {"teacher", "student_before"}


def test_a_teacher_that_never_succeeds_stops_the_run_after_collection_and_all_is_kept(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    engine = {"type": "scripted", "tokenizer": "builtin:household-tokenizer", "replies": ["Thought: no\nAction: look"]}
    with pytest.raises(UserError, match="solved none of 12 tasks.*kept in"):
        go(toy_recipe(teacher={"engine": engine}), tmp_path)
    assert len(stored(tmp_path, "trajectories", "teacher", "round=000")) == 12
    assert not (tmp_path / "checkpoints").exists()


def test_a_recipe_without_learner_collects_and_evaluates_the_teacher(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe(
        student=None, learner=None, collect={"teacher_episodes": 4}, evaluate={"episodes": 3, "agents": ["teacher"]}
    )
    go(recipe, tmp_path)
    assert set(report(tmp_path)["agents"]) == {"teacher"}
    assert len(stored(tmp_path, "trajectories", "teacher", "round=000")) == 4


def test_a_scripted_teacher_writes_in_the_style_of_the_recipes_agent(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    agent = {"style": "act", "max_steps": 30, "max_tokens": 3000, "sampling": {"max_tokens": 64}}
    evaluate = {"episodes": 3, "agents": ["teacher"]}
    go(
        toy_recipe(agent=agent, student=None, learner=None, collect={"teacher_episodes": 1}, evaluate=evaluate),
        tmp_path,
    )
    assert report(tmp_path)["agents"]["teacher"]["household"]["success"] == 1.0
    made = stored(tmp_path, "evaluation", "teacher")
    assert {(episode.policy.prompt_style, episode.counts.reason_tokens) for episode in made} == {("act", 0)}


def test_a_student_trained_from_nothing_starts_as_the_checkpoint(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path
) -> None:
    scratch = {"tokenizer": toy_model, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2}
    recipe = toy_recipe(
        agent={"max_steps": 2, "max_tokens": 600, "sampling": {"max_tokens": 8}},
        teacher={"engine": {"type": "scripted", "tokenizer": toy_model, "policy": "household-expert"}},
        student={"engine": {"type": "transformers", "model": "checkpoint"}, "concurrency": 4},
        collect={"teacher_episodes": 4},
        learner={"scratch": scratch, "epochs": 1, "batch_episodes": 4, "keep": "all"},
        evaluate={"episodes": 2, "agents": ["teacher", "student"]},
    )
    go(recipe, tmp_path)
    student = stored(tmp_path, "evaluation", "student")
    assert len(student) == 2
    assert {s.policy.weight_version for s in student} == {1}
    assert not [s.outcome.failure for s in student if s.outcome.failure]


def test_episodes_of_older_weights_are_neither_reported_nor_taken_for_done(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    go(toy_recipe(), tmp_path)
    store = TrajectoryStore(tmp_path / "evaluation" / "student")
    stale = [
        replace(episode, identity=replace(episode.identity, round=0), policy=replace(episode.policy, weight_version=0))
        for episode in store.read()
    ]
    store.write(stale)
    go(toy_recipe(), tmp_path)
    assert report(tmp_path)["agents"]["student"]["household"]["n"] == 6


def test_an_engine_that_cannot_start_ends_the_run_in_its_own_sentence(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    engine = {"type": "scripted", "tokenizer": "builtin:household-tokenizer", "policy": "nobody"}
    with pytest.raises(UserError, match="no policy 'nobody'"):
        go(toy_recipe(teacher={"engine": engine}), tmp_path)


def test_a_split_without_tasks_is_refused_before_anything_starts(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        go(toy_recipe(evaluate={"episodes": 3, "split": "nowhere"}), tmp_path)
    assert not (tmp_path / "trajectories").exists()


def test_several_training_processes_need_ray(toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path) -> None:
    learner = {"model": toy_model, "epochs": 1, "batch_episodes": 4, "workers": 2}
    with pytest.raises(UserError, match="learner.workers is more than 1"):
        go(toy_recipe(learner=learner), tmp_path)


async def test_a_pool_and_its_workers_get_the_failure_policies_of_their_role(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = toy_recipe(failures={"student": {"max_restarts": 7}, "episode": {"max_retries": 4}})
    directory = RunDirectory(tmp_path)
    driver = Driver(recipe, directory, LocalBackend(), make_plan(recipe, directory), PHASES, Screen(io.StringIO()))
    limits: dict[Role, int] = {"teacher": 3, "student": 7}
    for role, max_restarts in limits.items():
        pool = await driver.pool(role)
        assert pool.policy.max_restarts == max_restarts
        worker = pool.slots[0].worker
        assert isinstance(worker, RolloutWorker)
        assert worker.config.episode_policy.max_retries == 4
    await driver.stop_all()
    directory.close()


def lose(folder: Path, *parts: str, count: int = 10**9, cause: Cause = Cause.ENGINE) -> None:
    """Make of stored episodes what an older version stored of a dead engine."""
    store = TrajectoryStore(folder.joinpath(*parts))
    failure = Failure("engine", "ConnectError", "no answer", cause)
    lost = [replace(t, outcome=Outcome(0.0, False, StopReason.ERROR, failure)) for t in store.read()]
    kept = list(store.read())[count:]
    shutil.rmtree(folder.joinpath(*parts))
    TrajectoryStore(folder.joinpath(*parts)).write([*lost[:count], *kept])


def test_episodes_that_an_older_version_stored_as_errors_are_shown_and_rolled_out_again(
    toy_recipe: MakeRecipe, tmp_path: Path
) -> None:
    go(toy_recipe(), tmp_path)
    whole = report(tmp_path)["agents"]
    lose(tmp_path, "evaluation", "teacher")
    lose(tmp_path, "evaluation", "student", count=2)
    rows = {row["name"]: row for row in run_status(RunDirectory(tmp_path))["steps"]}
    assert (rows["evaluate/teacher"]["done"], rows["evaluate/teacher"]["errors"]) == (0, 6)
    assert (rows["evaluate/student"]["done"], rows["evaluate/student"]["errors"]) == (4, 2)
    assert rows["evaluate/teacher"]["causes"] == {"engine": 6}
    write_run_report(RunDirectory(tmp_path))
    found = report(tmp_path)
    assert (found["agents"]["teacher"]["household"]["n"], len(found["failed"])) == (0, 8)
    go(toy_recipe(), tmp_path)
    again = report(tmp_path)
    assert again["agents"]["teacher"]["household"]["success"] == whole["teacher"]["household"]["success"]
    assert ({agent["household"]["n"] for agent in again["agents"].values()}, again["failed"]) == ({6}, [])
