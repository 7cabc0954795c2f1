"""Status says exactly what a restart still has to do, whatever is missing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.config.load import load_recipe, recipe_names
from cluster.config.recipe import Recipe, RetrievalRole
from cluster.driver import PHASES, Driver
from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest, RolloutUpdate, WorkerJob
from cluster.run.plan import Plan, make_plan
from cluster.run.plan_file import read_plan, write_plan
from cluster.run.progress import Screen
from cluster.run.status import describe, run_status
from cluster.run.steps.hint_bank import HintBankStep
from cluster.run.training_data import TrainRequest
from cluster.runtime.resources import ResourceRequest
from cluster.runtime.rollout_worker import WorkerConfig
from rollout.errors import UserError
from rollout.hints.bank import Hint, HintBank, write_bank
from rollout.tools.retrieval.client import Backend as Replica
from rollout.trajectory import Key, Outcome, Policy, StopReason, Trajectory
from rollout.trajectory.store import TrajectoryStore
from tests.cluster.run.test_plan import EVERYTHING, placeholder_tasks

MakeRecipe = Callable[..., Recipe]


def finished(request: EpisodeRequest) -> Trajectory:
    """An episode that succeeded."""
    return Trajectory(request.identity, Policy("m", 0, "react"), Outcome(1.0, True, StopReason.SUCCESS), ())


def write_hints(folder: Path) -> None:
    hints = tuple(Hint(category="math", text=f"Check step {number} of the sum again.") for number in range(9))
    write_bank(HintBank(hints), str(folder / "hints.parquet"))


class RecordingBackend:
    """Records what it is asked for; every episode succeeds at once, every training leaves a folder."""

    cores = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requested: Counter[str] = Counter()
        self.trained: list[int] = []

    def check(self, wanted: Sequence[ResourceRequest]) -> None:
        """Everything fits."""

    def worker(self, request: ResourceRequest, config: WorkerConfig) -> RecordingBackend:
        return self

    async def replicas(self, config: RetrievalRole) -> tuple[Replica, ...]:
        raise NotImplementedError

    async def train(self, request: TrainRequest) -> None:
        self.trained.append(request.round)
        (self.folder / "checkpoints" / f"round={request.round:03d}").mkdir(parents=True)

    async def compact(self, store: str) -> None:
        """Stores stay as they are."""

    def close(self) -> None:
        """Nothing to close."""

    async def start(self) -> tuple[str, ...]:
        return ()

    async def ping(self) -> None:
        """It is there."""

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        TrajectoryStore(requests[0].spec.store).write([finished(request) for request in requests])
        for request in requests:
            self.requested[Path(request.spec.store).relative_to(self.folder).as_posix()] += 1
            yield RolloutUpdate(summaries=(finished(request),))

    async def call(self, job: WorkerJob) -> Mapping[str, int]:
        self.requested["hints.parquet"] += 1
        write_hints(self.folder)
        return {"episodes": 0, "bank": 9}

    async def load_weights(self, folder: str, version: int) -> None:
        """Weights are not recorded."""

    async def stop(self) -> None:
        """Nothing to stop."""


async def restart(recipe: Recipe, plan: Plan, directory: RunDirectory) -> RecordingBackend:
    """Execute what is missing; gives what was asked for."""
    backend = RecordingBackend(directory.path)
    with (directory.path / "screen.log").open("w") as file:
        await Driver(recipe, directory, backend, plan, PHASES, Screen(file)).drive()
    return backend


def missing(run: RunDirectory) -> dict[str, int]:
    """What status says is left of each step that keeps its output, by output."""
    outputs = {step.name: step.output for step in read_plan(run).steps}
    rows = run_status(run)["steps"]
    return {outputs[row["name"]]: row["total"] - row["done"] for row in rows if row["done"] < row["total"]}


@pytest.fixture
def run(toy_recipe: MakeRecipe, tmp_path: Path) -> Iterator[tuple[Recipe, Plan, RunDirectory]]:
    recipe = toy_recipe(**EVERYTHING)
    with closing(RunDirectory(tmp_path / "run")) as directory:
        directory.path.mkdir()
        plan = make_plan(recipe, directory, placeholder_tasks(recipe))
        write_plan(plan, directory)
        yield recipe, plan, directory


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_restart_does_exactly_what_status_says_is_missing(
    run: tuple[Recipe, Plan, RunDirectory], data: st.DataObject
) -> None:
    """Any subset of the outputs is deleted, and of some stores a part of the episodes."""
    recipe, plan, directory = run
    await restart(recipe, plan, directory)
    assert missing(directory) == {}
    assert set(run_status(directory)["phases"].values()) == {"done"}
    outputs = [step.output for step in plan.steps if not step.output.startswith("weights/")]
    for output in data.draw(st.lists(st.sampled_from(outputs), unique=True)):
        path = directory.path / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for step in plan.episode_steps():
        if not Path(step.store).exists() and (kept := data.draw(st.integers(0, len(step.requests) - 1))):
            TrajectoryStore(step.store).write([finished(request) for request in step.requests[:kept]])
    expected = missing(directory)
    backend = await restart(recipe, plan, directory)
    trained = {f"checkpoints/round={round:03d}": 1 for round in backend.trained}
    assert {**backend.requested, **trained} == expected


def test_episodes_of_other_weights_or_of_another_plan_are_not_counted(
    run: tuple[Recipe, Plan, RunDirectory],
) -> None:
    _, plan, directory = run
    step = plan.episode_steps("evaluate")[0]
    foreign = [
        Trajectory(
            request.identity.__class__("run", step.spec.role, 7, f"other/{number}", 0, "math", "train"),
            Policy("m", 0, "react"),
            Outcome(0.0, False, StopReason.STEP_LIMIT),
            (),
        )
        for number, request in enumerate(step.requests)
    ]
    TrajectoryStore(step.store).write([*foreign, finished(step.requests[0])])
    row = next(row for row in run_status(directory)["steps"] if row["name"] == step.name)
    assert (row["done"], row["total"], row["success"], row["state"]) == (1, len(step.requests), 1.0, "started")


@pytest.mark.parametrize("name", recipe_names())
def test_status_of_a_partly_finished_run_is_right_for_every_shipped_recipe(name: str, tmp_path: Path) -> None:
    """The first half of the steps that keep episodes is done, but for one episode."""
    recipe, run = load_recipe(name), RunDirectory(tmp_path)
    plan = make_plan(recipe, run, placeholder_tasks(recipe))
    write_plan(plan, run)
    steps = plan.episode_steps()
    for step in steps[: (len(steps) + 1) // 2]:
        TrajectoryStore(step.store).write([finished(request) for request in step.requests[1:60]])
    rows = {row["name"]: row for row in run_status(run)["steps"]}
    for place, step in enumerate(steps):
        done = min(59, len(step.requests) - 1) if place < (len(steps) + 1) // 2 else 0
        assert (rows[step.name]["done"], rows[step.name]["total"]) == (done, len(step.requests))
    assert f"of {len(steps[0].requests)}" in describe(run_status(run))


def test_status_needs_neither_the_recipe_nor_its_environment(run: tuple[Recipe, Plan, RunDirectory]) -> None:
    _, _, directory = run
    directory.recipe_file.write_text("environment: {type: not-installed}\n")
    assert run_status(directory)["recipe"] == "toy"


def test_a_run_directory_without_a_plan_is_read_by_its_recipe(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    from cluster.run.directory import recipe_yaml

    run = RunDirectory(tmp_path)
    run.recipe_file.write_text(recipe_yaml(toy_recipe()))
    rows = {row["name"]: row["total"] for row in run_status(run)["steps"]}
    assert rows["collect/teacher/0"] == 12


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"steps": [{"name": "a"}]},
        {"steps": [{"name": "a", "title": "a", "phase": "rollout", "kind": "x", "output": "../../etc", "tasks": 0}]},
    ],
)
def test_a_plan_that_is_damaged_newer_or_points_elsewhere_is_refused(
    run: tuple[Recipe, Plan, RunDirectory], change: dict[str, Any]
) -> None:
    _, _, directory = run
    content = json.loads(directory.plan_file.read_text())
    directory.plan_file.write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=r"plan\.json cannot be read"):
        run_status(directory)


def test_the_hint_bank_is_a_step_of_its_own(run: tuple[Recipe, Plan, RunDirectory]) -> None:
    _, plan, directory = run
    assert any(isinstance(step, HintBankStep) for step in plan.steps)
    assert missing(directory)["hints.parquet"] == 1
    write_hints(directory.path)
    assert "hints.parquet" not in missing(directory)


def test_a_key_is_role_round_task_and_attempt(run: tuple[Recipe, Plan, RunDirectory]) -> None:
    _, plan, directory = run
    step = plan.episode_steps("collect")[0]
    record = next(record for record in read_plan(directory).steps if record.name == step.name)
    assert record.keys == dataclasses.replace(step.requests.keys, tasks=record.tasks)
    keys = {
        Key(record.role, record.round, task, attempt) for task in record.tasks for attempt in range(record.attempts)
    }
    assert keys == {request.key for request in step.requests}


def test_a_plan_of_the_first_version_is_read_as_it_was_meant(run: tuple[Recipe, Plan, RunDirectory]) -> None:
    _, _, directory = run
    expected, content = read_plan(directory), json.loads(directory.plan_file.read_text())
    steps = [{name: step[name] for name in step if name not in ("tasks", "attempts")} for step in content["steps"]]
    keys = [[[task, attempt] for attempt in range(step.attempts) for task in step.tasks] for step in expected.steps]
    old = [{**step, "keys": number} for number, step in enumerate(steps)]
    first = {"version": 1, "recipe": content["recipe"], "steps": old, "keys": keys}
    directory.plan_file.write_text(json.dumps(first))
    assert read_plan(directory) == expected
