"""A plan is a graph of steps: valid, in order, and the same at every start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.config.load import load_recipe, recipe_names
from cluster.config.recipe import Recipe
from cluster.run.directory import RunDirectory
from cluster.run.plan import Plan, make_plan
from cluster.run.steps.step import EpisodeStep, Step, StepContext
from cluster.run.steps.train import TrainStep
from cluster.run.tasks import TaskLists
from rollout.environment import Task
from tests.cluster.conftest import scripted

MakeRecipe = Callable[..., Recipe]
EVERYTHING = {
    "environment": {"type": "math"},
    "teacher": {"engine": scripted("math-expert")},
    "student": {"engine": scripted("math-random")},
    "agent": {"style": "react"},
    "rounds": 2,
    "collect": {"teacher_episodes": 6, "student_episodes": 4, "attempts": 2, "train_on": ["teacher", "student"]},
    "hints": {"failures_episodes": 5, "agents": ["teacher"]},
    "score": {"roles": ["student"]},
}


class ToyStep(Step):
    """A step that does nothing."""

    def is_complete(self, context: StepContext) -> bool:
        return True

    async def execute(self, context: StepContext) -> None:
        """Nothing to do."""


def toy(name: str, *inputs: str, after: tuple[str, ...] = ()) -> ToyStep:
    return ToyStep(name=name, title=name, phase="rollout", inputs=inputs, output=f"out/{name}", after=after)


def placeholder_tasks(recipe: Recipe) -> TaskLists:
    """As many tasks as asked for, without any data."""

    def draw(environment: object, section: str, split: str, count: int, seed: int) -> list[Task]:
        name = str(getattr(environment, "type", ""))
        return [Task(f"{name}/{section}/{number}", name, split, "") for number in range(count)]

    return TaskLists(recipe, draw)


@pytest.fixture
def plan(toy_recipe: MakeRecipe, tmp_path: Path) -> Plan:
    recipe = toy_recipe(**EVERYTHING)
    return make_plan(recipe, RunDirectory(tmp_path), placeholder_tasks(recipe))


def test_a_plan_names_every_step_of_the_run_in_order(plan: Plan) -> None:
    assert [step.name for step in plan.steps] == [
        "prepare/failures/0",
        "prepare/hint_bank",
        "collect/teacher/0",
        "collect/student/0",
        "evaluate/teacher",
        "evaluate/student_before",
        "score/student/0",
        "train/0",
        "sync_weights/student/1",
        "collect/teacher/1",
        "collect/student/1",
        "score/student/1",
        "train/1",
        "sync_weights/student/2",
        "evaluate/student",
    ]


def test_steps_consume_what_they_need_and_nothing_else(plan: Plan) -> None:
    needs = {step.name: {plan.producers[name].name for name in step.inputs} for step in plan.steps}
    assert needs["prepare/hint_bank"] == {"prepare/failures/0"}
    assert needs["collect/teacher/0"] == {"prepare/hint_bank"}
    assert needs["collect/student/0"] == set()
    assert needs["collect/student/1"] == {"sync_weights/student/1"}
    assert needs["evaluate/teacher"] == {"prepare/hint_bank"}
    assert needs["train/1"] == {
        "collect/teacher/0",
        "score/student/0",
        "collect/teacher/1",
        "score/student/1",
        "train/0",
    }
    assert needs["evaluate/student"] == {"sync_weights/student/2"}


def test_weights_are_replaced_only_after_all_episodes_that_need_the_old_ones(plan: Plan) -> None:
    steps = {step.name: step for step in plan.steps}
    assert {"collect/student/0", "evaluate/student_before"} <= plan.dependencies(steps["sync_weights/student/1"])
    assert "collect/student/1" in plan.dependencies(steps["sync_weights/student/2"])


def test_rounds_are_in_strict_order(plan: Plan) -> None:
    steps = {step.name: step for step in plan.steps}
    assert "train/0" in plan.dependencies(steps["collect/teacher/1"])
    assert {"evaluate/teacher", "evaluate/student_before"} <= plan.dependencies(steps["train/0"])


def test_stages_hold_steps_that_can_be_executed_at_the_same_time(plan: Plan) -> None:
    assert [step.name for step in plan.stages[0]] == [
        "prepare/failures/0",
        "collect/student/0",
        "evaluate/student_before",
    ]
    assert sum(map(len, plan.stages)) == len(plan.steps)


@pytest.mark.parametrize(
    "steps",
    [
        (toy("a"), toy("a")),
        (toy("a", "out/b"), toy("b")),
        (toy("a", after=("b",)), toy("b")),
        (toy("a", "out/nobody"),),
    ],
    ids=["two of one name", "an input of a later step", "ordered after a later step", "an input of nobody"],
)
def test_a_plan_that_cannot_be_executed_is_refused(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ValueError, match="two steps|does not come before"):
        Plan("toy", steps)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_has_a_plan_that_is_the_same_at_every_start(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    first, second = (make_plan(recipe, RunDirectory(tmp_path), placeholder_tasks(recipe)) for _ in range(2))
    assert first == second
    trained = [step for step in first.steps if isinstance(step, TrainStep)]
    assert len(trained) == (recipe.rounds if recipe.learner else 0)
    assert all(step.requests for step in first.steps if isinstance(step, EpisodeStep))


def test_evaluated_episodes_are_stored_and_shown_sooner_than_collected_ones(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    plan = make_plan(toy_recipe(), RunDirectory(tmp_path))
    delays_s = {step.kind: step.spec.max_delay_s for step in plan.episode_steps("collect", "evaluate")}
    assert delays_s == {"collect": 5.0, "evaluate": 1.0}
