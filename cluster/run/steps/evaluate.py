"""Step: an agent acts in the held-out tasks."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config.collect import Role
from cluster.config.recipe import Agent, EvaluateConfig, Recipe
from cluster.run.episodes import EpisodeRequests, HintContext
from cluster.run.steps.planner import HINT_BANK, Planner
from cluster.run.steps.rollout import RolloutSpec
from cluster.run.steps.step import EpisodeStep

MAX_DELAY_S = 1.0
"""Evaluated episodes are shown sooner than collected ones, which are more."""


def plan_baselines(planner: Planner, round: int) -> Iterator[EpisodeStep]:
    """Evaluations that need no training, beside the first round: ``teacher`` and ``student_before``."""
    if round == 0:
        yield from _evaluations(planner, [agent for agent in evaluated_agents(planner.recipe) if agent != "student"])


def plan_evaluation(planner: Planner) -> Iterator[EpisodeStep]:
    """Evaluation of the trained student, at the end."""
    yield from _evaluations(planner, [agent for agent in evaluated_agents(planner.recipe) if agent == "student"])


def evaluated_agents(recipe: Recipe) -> list[Agent]:
    """Agents that the recipe evaluates and that have what they need to act."""
    can_act = {
        "teacher": True,
        "student_before": recipe.student_has_start,
        "student": recipe.student is not None and recipe.learner is not None,
    }
    return [agent for agent in recipe.evaluate.agents if can_act[agent]] if recipe.evaluate else []


def _evaluations(planner: Planner, agents: list[Agent]) -> Iterator[EpisodeStep]:
    config = planner.recipe.evaluate
    for agent in agents if config else ():
        if config is not None:
            yield evaluation(planner, config, agent)


def evaluation(planner: Planner, config: EvaluateConfig, agent: Agent) -> EpisodeStep:
    """The evaluation of ``agent``. Its round is the version of its weights, so that versions never mix."""
    recipe, hints = planner.recipe, planner.recipe.hints
    version = recipe.rounds if agent == "student" else 0
    role: Role = "teacher" if agent == "teacher" else "student"
    has_hints = bool(hints and agent in hints.agents)
    spec = RolloutSpec(
        run_name=recipe.name,
        role=agent,
        round=version,
        store=planner.directory.evaluation(agent),
        agent=recipe.evaluated_agent(),
        hints=HintContext(planner.hint_bank(), hints) if hints and has_hints else None,
        max_delay_s=MAX_DELAY_S,
    )
    return EpisodeStep(
        name=f"evaluate/{agent}",
        title=f"evaluate {agent}",
        phase="evaluate",
        kind="evaluate",
        inputs=(*planner.weights(role, version), *([HINT_BANK] if has_hints else [])),
        output=f"evaluation/{agent}",
        acts_as=role,
        weight_version=version,
        spec=spec,
        requests=EpisodeRequests(spec, planner.tasks.evaluate(), config.attempts),
    )
