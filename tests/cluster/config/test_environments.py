"""A recipe can mix environments: every number of episodes is divided among them by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.config.environments import apportion, interleave
from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import RunDirectory, open_run
from cluster.run.plan import make_plan
from rollout.errors import UserError
from rollout.trajectory.store import TrajectoryStore
from tests.cluster.conftest import scripted

HOUSEHOLD = {"type": "household", "size": "small"}
MATHS = {"type": "math"}


def mix(*parts: tuple[dict[str, Any], float]) -> dict[str, Any]:
    """Settings of a mix."""
    return {"type": "mix", "parts": [{"environment": environment, "weight": weight} for environment, weight in parts]}


@given(st.integers(0, 500), st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6))
def test_shares_add_up_and_are_within_one_of_the_exact_ones(count: int, weights: list[float]) -> None:
    shares = apportion(count, weights)
    assert sum(shares) == count
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - count * weight / sum(weights)) < 1.0 + 1e-9


def test_a_remainder_goes_to_who_is_owed_most_then_to_the_first() -> None:
    assert apportion(10, [1.0, 1.0, 1.0]) == [4, 3, 3]
    assert apportion(10, [2.5, 6.6, 0.9]) == [2, 7, 1]


def test_parts_are_spread_evenly_and_keep_their_order() -> None:
    assert interleave(["abcd", "XY", ""]) == ["a", "X", "b", "c", "Y", "d"]


def test_each_round_has_new_tasks_of_every_environment_by_weight(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = toy_recipe(environment=mix((HOUSEHOLD, 3.0), (MATHS, 1.0)), rounds=2)
    plan = make_plan(recipe, RunDirectory(tmp_path))
    seen = set()
    for round in range(2):
        steps = [step for step in plan.episode_steps("collect") if step.spec.round == round]
        for step in steps:
            tasks = [request.task for request in step.requests]
            counts = Counter(task.environment for task in tasks)
            assert counts == {12: {"household": 9, "math": 3}, 5: {"household": 4, "math": 1}}[len(tasks)]
        teacher = {request.task.id for request in steps[0].requests}
        assert not teacher & seen
        assert {request.task.id for request in steps[1].requests} <= teacher
        seen |= teacher


def test_a_mixed_run_plays_every_task_in_its_own_world_and_reports_each(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = toy_recipe(
        environment=mix((HOUSEHOLD, 1.0), (MATHS, 1.0)),
        teacher={"engine": {"type": "scripted", "tokenizer": scripted("")["tokenizer"], "replies": ["Action: look"]}},
        student=None,
        learner=None,
        collect={"teacher_episodes": 6},
        evaluate={"episodes": 4, "agents": ["teacher"]},
        agent={"max_steps": 2, "sampling": {"max_tokens": 16}},
    )
    with open_run(tmp_path, recipe) as directory:
        report = run(recipe, directory, address="local")
    assert {name: figures["n"] for name, figures in report["agents"]["teacher"].items()} == {"household": 2, "math": 2}
    for trajectory in TrajectoryStore(str(tmp_path / "trajectories/teacher/round=000")).read():
        system = next(segment.text for segment in trajectory.segments if segment.kind == "system")
        assert ("household" in system) == (trajectory.identity.environment == "household")
        assert trajectory.outcome.failure is None


def test_an_environment_that_is_named_twice_is_refused(toy_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValidationError, match="two parts are of the environment math; give each environment once"):
        toy_recipe(environment=mix((MATHS, 1.0), (MATHS, 2.0)))


def test_a_split_that_one_environment_lacks_is_refused_by_its_name(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = toy_recipe(
        environment=mix((HOUSEHOLD, 1.0), (MATHS, 1.0)), collect={"split": "dev", "teacher_episodes": 4}
    )
    with pytest.raises(UserError, match="collect.split: household has no split dev; choose one of train"):
        make_plan(recipe, RunDirectory(tmp_path))
