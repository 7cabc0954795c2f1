"""A driver that is killed (SIGKILL) goes on where it was: nothing finished is lost, played again or trained again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import RunDirectory, open_run
from cluster.run.progress import Screen
from rollout.trajectory import Key, Trajectory
from rollout.trajectory.store import TrajectoryStore
from tests import forked
from tests.waiting import wait_until

LIMIT_S = 400.0

Stores = dict[str, dict[Key, float]]
"""By store: the start of each episode, which tells whether it is the same one."""


def scripted(policy: str, latency_s: float) -> dict[str, object]:
    return {"type": "scripted", "tokenizer": "builtin:household-tokenizer", "policy": policy, "latency_s": latency_s}


@pytest.fixture
def recipe(toy_recipe: Callable[..., Recipe], toy_model: str) -> Recipe:
    """Slow enough to be killed in the middle of everything."""
    slow = {"concurrency": 2, "resources": {"cpus": 0.5}}
    return toy_recipe(
        teacher={"engine": scripted("household-expert", 0.06), **slow},
        student={"engine": scripted("household-random", 0.01), **slow},
        learner={"model": toy_model, "epochs": 12, "batch_episodes": 4, "checkpoint_every_s": 1.0},
    )


def drive(recipe: Recipe, folder: Path, address: str | None, log: Path) -> None:
    """What a driver's process does."""
    with log.open("a") as file, redirect_stderr(file), open_run(folder, recipe) as directory:
        run(recipe, directory, address=address, screen=Screen(file))


class Driver:
    """Starts runs in processes of their own, on one run folder."""

    def __init__(self, recipe: Recipe, folder: Path, address: str | None) -> None:
        self.run = RunDirectory(folder / "run")
        self.log = folder / "log.txt"
        self.arguments = (recipe, self.run.path, address, self.log)

    def kill_when(self, has_come: Callable[[RunDirectory], bool]) -> None:
        """Start, and kill as soon as a condition on the run folder holds."""
        process = forked.start(drive, *self.arguments)

        def come_or_ended() -> bool:
            return has_come(self.run) or process.exitcode is not None

        try:
            wait_until(come_or_ended, has_come.__name__, timeout_s=LIMIT_S, poll_s=0.05)
            assert process.exitcode is None, f"ended before it could be killed: {self.log.read_text()}"
        finally:
            process.kill()
            process.join()

    def finish(self) -> None:
        """Start, and let it come to its end."""
        process = forked.start(drive, *self.arguments)
        process.join(LIMIT_S)
        process.kill()
        assert process.exitcode == 0, self.log.read_text()

    def stored(self) -> Stores:
        """All episodes; fails if a reader would get one twice."""
        found: Stores = {}
        for uri in self.run.stores().values():
            episodes: list[Trajectory] = list(TrajectoryStore(uri, read_only=True).summaries())
            found[uri] = {episode.key: episode.times.started_unix_s for episode in episodes}
            assert len(found[uri]) == len(episodes)
        return found


def collects(run: RunDirectory) -> bool:
    return any(run.path.glob("trajectories/*/round=000/*.parquet"))


def trains(run: RunDirectory) -> bool:
    return any(row.get("kind") == "train_step" for row in run.read_metrics())


def evaluates(run: RunDirectory) -> bool:
    return any(run.path.glob("evaluation/student/*.parquet"))


def assert_kept(before: Stores, after: Stores) -> None:
    """Every episode that was there is there still, and is the same one."""
    for uri, episodes in before.items():
        assert episodes.items() <= after[uri].items()


def assert_whole(stores: Stores, run: RunDirectory) -> None:
    assert {Path(uri).relative_to(run.path).as_posix(): len(episodes) for uri, episodes in stores.items()} == {
        "trajectories/teacher/round=000": 12,
        "trajectories/student/round=000": 5,
        "evaluation/teacher": 6,
        "evaluation/student_before": 6,
        "evaluation/student": 6,
    }
    assert (run.path / "report.json").is_file()


def trained_rounds(run: RunDirectory) -> list[int]:
    return [row["round"] for row in run.read_metrics() if row.get("kind") == "trained"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "address",
    ["local", pytest.param(None, marks=[pytest.mark.ray, pytest.mark.slow])],
    ids=["local", "ray"],
)
def test_a_run_killed_in_rollout_in_training_and_in_evaluation_ends_whole(
    recipe: Recipe, tmp_path: Path, address: str | None
) -> None:
    driver = Driver(recipe, tmp_path, address)

    driver.kill_when(collects)
    in_rollout = driver.stored()
    assert sum(map(len, in_rollout.values())) < 17

    driver.kill_when(trains)
    in_training = driver.stored()
    assert_kept(in_rollout, in_training)
    assert not driver.run.checkpoint(0).exists()

    driver.kill_when(evaluates)
    in_evaluation = driver.stored()
    assert_kept(in_training, in_evaluation)
    weights = driver.run.checkpoint(0) / "model.safetensors"
    trained_ns = weights.stat().st_mtime_ns

    driver.finish()
    at_the_end = driver.stored()
    assert_kept(in_evaluation, at_the_end)
    assert_whole(at_the_end, driver.run)
    assert weights.stat().st_mtime_ns == trained_ns
    assert trained_rounds(driver.run) == [0]
