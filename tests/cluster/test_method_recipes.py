"""Every method that is shipped as a recipe runs from end to end, in small: few episodes, a model that knows nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from rollout.tools.sandbox.tiers import available_tiers
from rollout.trajectory import Kind
from rollout.trajectory.store import TrajectoryStore

METHODS = ("imitation", "token-kd", "sad", "hints", "on-policy", "privileged")
IN_CODE = ("agent-distillation-math", "agent-distillation-hotpotqa")
needs_sandbox = pytest.mark.skipif(
    not any(status.works for status in available_tiers()[:2]), reason="no strong sandbox works on this machine"
)
SMALL = (
    "agent.max_steps=2",
    "agent.sampling.max_tokens=8",
    "collect.teacher_episodes=3",
    "learner.epochs=1",
    "learner.max_seconds=null",
    "learner.workers=1",
    # Nobody here ever succeeds.
    "learner.keep=all",
    "collect.keep=null",
    "evaluate.episodes=2",
    "rounds=1",
)


def overrides(name: str, model: str) -> list[str]:
    engine = f"{{type: transformers, model: {model}, max_model_len: 2048}}"
    recipe, changes = load_recipe(name), [*SMALL, f"teacher.engine={engine}", f"student.engine={engine}"]
    if recipe.collect.student_episodes:
        changes.append("collect.student_episodes=3")
    if recipe.hints is not None:
        changes.append("hints.failures_episodes=12")
    if recipe.evaluate is not None and recipe.evaluate.acting is not None:
        changes.append("evaluate.acting.candidates=2")
    return changes


@pytest.mark.parametrize("name", [*METHODS, *(pytest.param(name, marks=needs_sandbox) for name in IN_CODE)])
def test_a_method_runs_from_its_recipe_to_its_report(name: str, toy_model: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, overrides(name, toy_model))
    with open_run(tmp_path, recipe) as directory:
        made = run(recipe, directory, address="local", screen=Screen(io.StringIO()))
        (trained,) = [row for row in directory.read_metrics() if row["kind"] == "trained"]
    assert set(made["agents"]) == {"teacher", "student_before", "student"}
    assert trained["steps"] >= 1
    for agent in made["agents"]:
        played = list(TrajectoryStore(str(tmp_path / "evaluation" / agent), read_only=True).read())
        assert len(played) == 2
        hinted = [s for t in played for s in t.segments if s.kind is Kind.HINT]
        assert not hinted or (recipe.hints is not None and agent in recipe.hints.agents)
