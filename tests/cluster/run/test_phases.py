"""Each phase needs only what it uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.phases import PHASES, used_sections
from cluster.run.plan import make_plan
from cluster.run.playable import check_agents
from cluster.run.tasks import TaskLists, TasksError
from cluster.run.weights import check_models
from cluster.runtime.resources import resource_groups
from rollout.environment import Task
from rollout.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "phase", "sections"),
    [
        ([], "rollout", {"teacher", "student"}),
        (["collect.student_episodes=0"], "rollout", {"teacher"}),
        ([], "train", {"learner", "student"}),
        (["learner.model=org/model"], "train", {"learner"}),
        ([], "evaluate", {"teacher", "student"}),
        (["evaluate.agents=[student]"], "evaluate", {"student"}),
        (["evaluate=null"], "evaluate", set()),
    ],
)
def test_the_sections_that_a_phase_uses(overrides: list[str], phase: str, sections: set[str]) -> None:
    recipe = load_recipe("quickstart", overrides)
    assert used_sections(recipe, {phase}) == sections
    assert used_sections(recipe, PHASES) >= sections


@pytest.mark.parametrize(
    ("override", "users"),
    [
        ("collect.split=typo", {"rollout", "train"}),
        ("evaluate.split=typo", {"evaluate"}),
    ],
)
def test_a_split_is_checked_by_the_phases_that_use_its_tasks(override: str, users: set[str]) -> None:
    recipe = load_recipe("quickstart", [override])
    for phase in PHASES:
        if phase in users:
            with pytest.raises(UserError, match="has no split typo"):
                TaskLists(recipe, phases={phase})
        else:
            assert TaskLists(recipe, phases={phase}).absent == {override.partition(".")[0]}


@pytest.mark.parametrize(
    ("overrides", "users"),
    [
        (["teacher.engine.model=/nowhere/x"], {"rollout", "evaluate"}),
        (["teacher.engine.model=/nowhere/x", "evaluate.agents=[student]"], {"rollout"}),
        (["student.engine.model=/nowhere/x"], {"rollout", "train", "evaluate"}),
        (["learner.model=/nowhere/x"], {"train"}),
        (["learner.teacher_tokenizer=/nowhere/x", "learner.terms=[{stream: act, divergence: uld}]"], {"train"}),
    ],
)
def test_a_model_is_checked_by_the_phases_that_load_it(overrides: list[str], users: set[str]) -> None:
    recipe = load_recipe("quickstart", overrides)
    for phase in PHASES:
        if phase in users:
            with pytest.raises(UserError, match="/nowhere/x does not exist"):
                check_models(recipe, {phase})
        else:
            check_models(recipe, {phase})


def test_agents_are_checked_by_the_phases_in_which_they_act() -> None:
    recipe = load_recipe("quickstart", ["agent.examples=90"])
    check_agents(recipe, {"train"})
    for phase in ("rollout", "evaluate"):
        with pytest.raises(UserError, match="agent.examples is 90"):
            check_agents(recipe, {phase})


def test_workers_of_other_phases_need_no_room(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ["learner.workers=9"])
    with open_run(tmp_path, recipe) as directory:
        plan = make_plan(recipe, directory)
    sections = {
        phase: {request.section for group in resource_groups(plan, recipe, {phase}) for request in group.requests}
        for phase in PHASES
    }
    assert sections == {"rollout": {"teacher", "student"}, "train": {"learner"}, "evaluate": {"teacher", "student"}}


def test_evaluation_alone_runs_although_collection_and_training_cannot(tmp_path: Path) -> None:
    learner = "learner={model: /nowhere/x, epochs: 1, batch_episodes: 1, workers: 4}"
    recipe = load_recipe("smoke", ["collect.split=typo", learner])
    check_models(recipe, {"evaluate"})
    with open_run(tmp_path, recipe) as directory:
        report = run(recipe, directory, address="local", phases={"evaluate"})
    assert report["agents"]["teacher"]["household"]["n"] == 4


def test_a_plan_of_one_phase_does_not_replace_that_of_the_whole_run(tmp_path: Path) -> None:
    whole = load_recipe("smoke")
    with open_run(tmp_path, whole) as directory:
        run(whole, directory, address="local", phases={"evaluate"})
        before = directory.plan_file.read_text(encoding="utf-8")
    assert "collect/teacher/0" in before
    with open_run(tmp_path, whole) as directory:
        damaged = load_recipe("smoke", ["collect.split=typo"])
        run(damaged, directory, address="local", phases={"evaluate"})
        assert directory.plan_file.read_text(encoding="utf-8") == before


def test_a_task_id_that_occurs_twice_is_refused_and_named() -> None:
    recipe = load_recipe("smoke")

    def draw(environment: object, section: str, split: str, count: int, seed: int) -> list[Task]:
        return [Task(f"household/{split}/{number % 3}", "household", split, "") for number in range(count)]

    with pytest.raises(TasksError, match=r"collect.split: train has 2 tasks with the id household/train/0; give each"):
        TaskLists(recipe, draw, {"rollout"})
