"""How far a run is, derived from what lies in its folder; safe to ask while it runs."""

from __future__ import annotations

from typing import Any

from cluster.config.load import load_recipe
from cluster.config.recipe import Recipe
from cluster.run.directory import RunDirectory
from rollout.trajectory.store import TrajectoryStore

Row = dict[str, Any]


def run_status(run: RunDirectory) -> dict[str, Any]:
    """Counts of each store against what the recipe asks for, finished checkpoints, and the last metrics.

    Returns:
        ``run_dir``, ``recipe``, ``phases`` (name -> ``waiting``, ``begun`` or ``done``), ``collected`` and
        ``evaluated`` (a row a store: role or agent, round, episodes, of, success, errors), ``checkpoints``,
        ``last_metrics``.
    """
    recipe = load_recipe(str(run.recipe_file))
    collected: list[Row] = []
    evaluated: list[Row] = []
    for (who, round), uri in run.stores().items():
        row = {"who": who, "round": round, "of": wanted(recipe, who, round), **counts(uri)}
        (evaluated if round is None else collected).append(row)
    checkpoints = [round for round in range(recipe.rounds) if run.checkpoint(round).is_dir()]
    metrics = run.read_metrics()
    return {
        "run_dir": str(run.path),
        "recipe": recipe.name,
        "phases": phases(recipe, collected, evaluated, checkpoints),
        "collected": collected,
        "evaluated": evaluated,
        "checkpoints": checkpoints,
        "last_metrics": metrics[-1] if metrics else None,
    }


def wanted(recipe: Recipe, who: str, round: int | None) -> int:
    """Episodes that the recipe asks of a store."""
    if round is None:
        return recipe.evaluate.episodes * recipe.evaluate.attempts if recipe.evaluate else 0
    tasks = {"teacher": recipe.collect.teacher_episodes, "student": recipe.collect.student_episodes}.get(who, 0)
    return tasks * recipe.collect.attempts


def counts(uri: str) -> dict[str, Any]:
    """Episodes of a store; ``success`` is their share, None without any."""
    outcomes = [summary.outcome for summary in TrajectoryStore(uri, read_only=True).summaries()]
    successes = sum(outcome.success for outcome in outcomes)
    return {
        "episodes": len(outcomes),
        "success": round(successes / len(outcomes), 4) if outcomes else None,
        "errors": sum(outcome.failure is not None for outcome in outcomes),
    }


def phases(recipe: Recipe, collected: list[Row], evaluated: list[Row], checkpoints: list[int]) -> dict[str, str]:
    """State of each phase that the recipe has."""
    collect = recipe.collect
    to_collect = (collect.teacher_episodes + collect.student_episodes) * collect.attempts * recipe.rounds
    states = {"rollout": _state(sum(row["episodes"] for row in collected), to_collect)}
    if recipe.learner is not None:
        states["train"] = _state(len(checkpoints), recipe.rounds)
    if recipe.evaluate is not None:
        to_evaluate = recipe.evaluate.episodes * recipe.evaluate.attempts * len(recipe.evaluate.agents)
        states["evaluate"] = _state(sum(row["episodes"] for row in evaluated), to_evaluate)
    return states


def _state(have: int, want: int) -> str:
    return "done" if have >= want else "begun" if have else "waiting"


def describe(found: dict[str, Any]) -> str:
    """The status in lines for a terminal."""
    lines = [f"{found['recipe']} in {found['run_dir']}"]
    lines += [f"{phase:<9} {state}" for phase, state in found["phases"].items()]
    for title in ("collected", "evaluated"):
        lines += [f"  {title:<9} {_describe_row(row)}" for row in found[title]]
    lines += [f"  checkpoint of round {round}" for round in found["checkpoints"]]
    return "\n".join(lines)


def _describe_row(row: Row) -> str:
    where = row["who"] if row["round"] is None else f"{row['who']} round {row['round']}"
    text = f"{where:<22} {row['episodes']:>6} of {row['of']:<6}"
    if row["success"] is not None:
        text += f" success {row['success']:.1%}"
    return text + (f"  errors {row['errors']}" if row["errors"] else "")
