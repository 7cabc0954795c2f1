"""Step: the teacher thinks about each task without acting; its first thought then begins the episode."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.run.episodes import EpisodeRequests
from cluster.run.steps.failures import without_distributions
from cluster.run.steps.planner import Planner, trajectories_output
from cluster.run.steps.rollout import RolloutSpec
from cluster.run.steps.step import EpisodeStep
from cluster.run.tasks import collecting_roles

FIRST_THOUGHT = "first_thought"
"""Name under which the chains of thought are kept; they are not trained on."""


def plan_first_thoughts(planner: Planner, round: int) -> Iterator[EpisodeStep]:
    """One step before the teacher's collection of a round, if the recipe asks for first thoughts."""
    recipe, config = planner.recipe, planner.recipe.first_thought
    episodes = collecting_roles(recipe).get("teacher", 0)
    if config is None or not episodes:
        return
    changes = {
        "style": "cot",
        "max_steps": 1,
        "examples": 0,
        "max_tokens": config.max_tokens or recipe.agent.max_tokens,
        "sampling": config.sampling.apply(without_distributions(recipe.agent.sampling)),
    }
    spec = RolloutSpec(
        run_name=recipe.name,
        role=FIRST_THOUGHT,
        round=round,
        store=planner.directory.trajectories(FIRST_THOUGHT, round),
        agent=recipe.agent.model_copy(update=changes),
    )
    yield EpisodeStep(
        name=f"prepare/{FIRST_THOUGHT}/{round}",
        title=planner.titled("teacher thinks", round),
        phase="rollout",
        kind="prepare",
        output=trajectories_output(FIRST_THOUGHT, round),
        after=planner.after_training(round),
        acts_as="teacher",
        weight_version=0,
        spec=spec,
        requests=EpisodeRequests(spec, planner.tasks.collect(episodes, round)),
        note="first steps of thought",
    )
