"""Which episodes are trained on; the stores that a recipe names are only read."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from cluster.run.training_data import Selection, check_other_stores
from learner.config import LearnerConfig
from learner.terms import CrossEntropyTerm
from rollout.episode.filters import KeepConfig
from rollout.errors import UserError
from rollout.trajectory import Cause, Failure, Outcome, StopReason, Trajectory
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.old_schemas import write_old_shard
from tests.rollout.trajectory.stores import episode, shards

LEARNER = LearnerConfig(model="m", terms=(CrossEntropyTerm(stream="act"),), epochs=1, batch_episodes=1)


def unsolved(task: str) -> Trajectory:
    return replace(episode(task), outcome=Outcome(0.0, False, StopReason.STEP_LIMIT))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(store: Path | str, keep: KeepConfig | None = None) -> str:
    with pytest.raises(UserError) as refused:
        check_other_stores([str(store)], LEARNER, keep)
    return str(refused.value)


def test_a_store_that_does_not_exist_is_refused_and_not_created(tmp_path: Path) -> None:
    for name in (tmp_path / "typo", tmp_path / "typo" / "round=000", tmp_path.as_uri() + "/typo"):
        assert refusal(name).startswith(f"collect.also: {name} is not an existing folder; name the folder of a store")
    (tmp_path / "file.parquet").write_bytes(b"")
    assert "is not an existing folder" in refusal(tmp_path / "file.parquet")
    assert sorted(contents(tmp_path)) == ["file.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.parquet"]


def test_a_store_that_holds_nothing_to_train_on_is_refused_with_the_reasons(tmp_path: Path) -> None:
    assert "holds no episode to train on (it is empty)" in refusal(tmp_path)
    TrajectoryStore(tmp_path / "parent" / "round=000").write([episode()])
    assert "(it is empty)" in refusal(tmp_path / "parent"), "the folder above a store"
    TrajectoryStore(tmp_path / "unsolved").write([unsolved("a"), unsolved("b")])
    assert "(2 excluded by learner.keep=success)" in refusal(tmp_path / "unsolved")
    assert "(2 not solved)" in refusal(tmp_path / "unsolved", KeepConfig())


def test_a_store_with_only_damaged_shards_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([episode()])
    [shard] = shards(tmp_path)
    shard.write_bytes(shard.read_bytes()[:-1])
    before = contents(tmp_path)
    assert f"({shard}: it is damaged or cut short" in refusal(tmp_path)
    assert contents(tmp_path) == before


def test_episodes_that_a_failure_ended_are_no_training_data(tmp_path: Path) -> None:
    failure = Failure("engine", "ConnectionError", "no answer", Cause.ENGINE)
    failed = replace(episode("a"), outcome=Outcome(0.0, False, StopReason.ERROR, failure))
    write_old_shard(tmp_path / "0-x.parquet", 2, failed)
    assert "(1 ended by a failure (engine))" in refusal(tmp_path)
    write_old_shard(tmp_path / "0-y.parquet", 2, episode("b"))
    selection = Selection([str(tmp_path)])
    assert [one.identity.task for one in selection] == ["b"]
    assert selection.dropped == {"ended by a failure (engine)": 1}


def test_one_episode_to_train_on_is_enough(tmp_path: Path) -> None:
    TrajectoryStore(tmp_path).write([unsolved("a"), episode("b")])
    check_other_stores([str(tmp_path)], LEARNER, KeepConfig())


def test_what_is_left_out_is_counted_by_reason_and_no_store_is_changed(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    TrajectoryStore(own).write([episode("a"), unsolved("b")])
    TrajectoryStore(other).write([episode("c")])
    (other / "cut.parquet").write_bytes(b"PAR1")
    before = contents(tmp_path)
    selection = Selection([str(own), str(other), str(tmp_path / "absent")], KeepConfig())
    assert [one.identity.task for one in selection] == ["a", "c"]
    assert selection.dropped == {"not solved": 1}
    assert list(selection.unreadable) == [str(other / "cut.parquet")]
    assert contents(tmp_path) == before
    assert not (tmp_path / "absent").exists()


def go(recipe: Recipe, folder: Path) -> str:
    """Collect and train in this process; returns what the screen showed."""
    file = io.StringIO()
    with open_run(folder, recipe) as directory:
        run(recipe, directory, address="local", phases=("rollout", "train"), screen=Screen(file))
    return file.getvalue()


def test_a_run_refuses_a_mistyped_store_before_its_first_episode(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = toy_recipe(collect={"teacher_episodes": 2, "also": [str(tmp_path / "typo")]})
    with pytest.raises(UserError, match=r"collect\.also: .*typo is not an existing folder"):
        go(recipe, tmp_path / "run")
    assert not (tmp_path / "typo").exists()
    assert list((tmp_path / "run").rglob("*.parquet")) == []


def test_a_run_says_what_its_training_left_out(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    other = tmp_path / "other"
    TrajectoryStore(other).write([episode("a"), *map(unsolved, "bc")])
    (other / "cut.parquet").write_bytes(b"PAR1")
    before = contents(other)
    collect = {"teacher_episodes": 2, "also": [str(other)], "keep": {}}
    shown = " ".join(go(toy_recipe(collect=collect), tmp_path / "run").split())
    assert "round 0 is trained without 2 episodes: 2 not solved" in shown
    assert "cut.parquet is left out: it is damaged or cut short" in shown
    learner = json.loads((tmp_path / "run" / "report.json").read_text())["learner"]
    assert learner["dropped"] == {"not solved": 2}
    assert list(learner["unreadable"]) == [str(other / "cut.parquet")]
    assert "| not trained on: not solved | 2 |" in (tmp_path / "run" / "report.md").read_text()
    assert contents(other) == before


def test_a_run_says_how_much_of_its_training_data_was_truncated(
    toy_recipe: Callable[..., Recipe], toy_model: str, tmp_path: Path
) -> None:
    learner = {
        "model": toy_model,
        "epochs": 1,
        "batch_episodes": 4,
        "max_sequence_tokens": 150,
        "resources": {"cpus": 1},
    }
    recipe = toy_recipe(collect={"teacher_episodes": 2}, learner=learner)
    shown = " ".join(go(recipe, tmp_path / "run").split())
    figures = json.loads((tmp_path / "run" / "report.json").read_text())["learner"]
    truncated = figures["truncated"]
    assert truncated["episodes"] == 2
    assert 0 < truncated["trained_tokens"] < truncated["tokens"]
    assert f"2 truncated episodes: {truncated['tokens']:,} tokens at their end were removed" in shown
    assert "| truncated: episodes | 2 |" in (tmp_path / "run" / "report.md").read_text()


def test_a_trained_run_no_longer_needs_the_stores_of_other_runs(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    TrajectoryStore(other).write([episode("a")])
    recipe = toy_recipe(collect={"teacher_episodes": 2, "also": [str(other)]})
    go(recipe, tmp_path / "run")
    shutil.rmtree(other)
    go(recipe, tmp_path / "run")
    assert not other.exists()
