"""Episodes that a worker rolls out: an agent acts in an environment until the episode ends."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.run.episodes import EpisodeRequest, EpisodeSpec, WorkerContext
from rollout.episode.config import AgentConfig
from rollout.episode.runner import roll_out
from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class RolloutSpec(EpisodeSpec):
    """Episodes in which an agent acts."""

    async def run(self, request: EpisodeRequest, context: WorkerContext) -> Trajectory:
        name = request.task.environment
        return await roll_out(
            request.task,
            request.identity,
            lambda: context.environment(name),
            context.engine,
            context.builder(name, self.agent),
            self.agent,
            guide=await context.guide(self),
            policy=context.episode_policy,
            fresh=lambda: context.fresh_environment(name),
        )

    @property
    def max_tokens(self) -> int:
        return max_episode_tokens(self.agent)


def max_episode_tokens(agent: AgentConfig) -> int:
    """Upper bound on tokens per episode, including those of rejected candidates."""
    rejected = getattr(agent.acting, "candidates", 1) - 1
    return agent.max_tokens + rejected * min(agent.max_tokens, agent.max_steps * agent.sampling.max_tokens)
