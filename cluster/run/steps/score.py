"""Step: the teacher adds its top-k distributions to collected episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cluster.config.collect import ScoreConfig
from cluster.run.episodes import EpisodeRequest, EpisodeSpec, HintContext, WorkerContext
from cluster.run.steps.planner import HINT_BANK, Planner, trajectories_output
from cluster.run.steps.step import EpisodeStep
from rollout.episode.scoring import score_trajectory
from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class ScoreSpec(EpisodeSpec):
    """Finished episodes with the teacher's distributions.

    Attributes:
        source: store of the episodes to score.
        top_k: entries of each distribution.
    """

    source: str = ""
    top_k: int = 16

    async def run(self, request: EpisodeRequest, context: WorkerContext) -> Trajectory:
        episode = await context.read(self.source, request.key)
        builder = context.builder(request.task.environment, self.agent)
        guide, limit_s = await context.guide(self), self.agent.time_limit_s
        return await score_trajectory(episode, context.engine, builder, self.top_k, guide, timeout_s=limit_s)

    @property
    def max_tokens(self) -> int:
        return self.agent.max_tokens


def plan_scores(planner: Planner, round: int) -> Iterator[EpisodeStep]:
    """One step for each collection of the round whose role is scored."""
    config = planner.recipe.score
    for step in planner.of_round(round, "collect") if config else ():
        if config and step.role in config.roles:
            yield scoring(planner, config, step)


def scoring(planner: Planner, config: ScoreConfig, collected: EpisodeStep) -> EpisodeStep:
    """The episodes of a collection again, with the teacher's distributions."""
    hints, round, name = planner.recipe.hints, collected.spec.round, f"{collected.role}-scored"
    spec = ScoreSpec(
        run_name=collected.spec.run_name,
        role=collected.spec.role,
        round=round,
        store=planner.directory.trajectories(name, round),
        agent=collected.spec.agent,
        hints=HintContext(planner.hint_bank(), hints) if config.hints and hints else None,
        source=collected.store,
        top_k=config.top_k,
    )
    return EpisodeStep(
        name=f"score/{collected.role}/{round}",
        title=planner.titled(f"teacher scores {collected.role}", round),
        phase="rollout",
        kind="score",
        inputs=(collected.output, *([HINT_BANK] if spec.hints else [])),
        output=trajectories_output(name, round),
        acts_as="teacher",
        weight_version=0,
        spec=spec,
        requests=replace(collected.requests, spec=spec),
        source=collected.name,
    )
