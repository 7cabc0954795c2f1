"""Step: the teacher acts without hints, so that there are failed episodes to write hints from."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.run.episodes import EpisodeRequests
from cluster.run.steps.planner import Planner, trajectories_output
from cluster.run.steps.rollout import RolloutSpec
from cluster.run.steps.step import EpisodeStep
from cluster.run.tasks import failing_episodes
from rollout.engine import Sampling

FAILURES = "failures"
"""Name under which the episodes are kept; they are not trained on."""


def plan_failures(planner: Planner, round: int) -> Iterator[EpisodeStep]:
    """One step before the first round, if a hint bank is to be written."""
    recipe, episodes = planner.recipe, failing_episodes(planner.recipe)
    if round or not episodes:
        return
    agent = recipe.agent.model_copy(update={"sampling": without_distributions(recipe.collect_sampling("teacher"))})
    spec = RolloutSpec(recipe.name, FAILURES, 0, planner.directory.trajectories(FAILURES, 0), agent)
    yield EpisodeStep(
        name=f"prepare/{FAILURES}/0",
        title="teacher acts without hints",
        phase="rollout",
        kind="prepare",
        output=trajectories_output(FAILURES, 0),
        acts_as="teacher",
        weight_version=0,
        spec=spec,
        requests=EpisodeRequests(spec, planner.tasks.collect(episodes)),
    )


def without_distributions(sampling: Sampling) -> Sampling:
    """The same sampling without recorded distributions, for episodes that are not trained on."""
    return sampling.model_copy(update={"top_logprobs": 0})
