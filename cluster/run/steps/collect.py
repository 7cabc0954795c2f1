"""Step: a role collects the episodes of a round."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config.collect import Role
from cluster.run.episodes import EpisodeRequests, HintContext
from cluster.run.steps.first_thought import FIRST_THOUGHT
from cluster.run.steps.planner import HINT_BANK, Planner, trajectories_output
from cluster.run.steps.rollout import RolloutSpec
from cluster.run.steps.step import EpisodeStep
from cluster.run.tasks import collecting_roles
from rollout.episode.config import AgentConfig


def plan_collection(planner: Planner, round: int) -> Iterator[EpisodeStep]:
    """The collections of a round; both roles collect at the same time."""
    for role, episodes in collecting_roles(planner.recipe).items():
        yield collection(planner, role, round, episodes)


def collection(planner: Planner, role: Role, round: int, episodes: int) -> EpisodeStep:
    """What ``role`` collects in ``round``."""
    recipe, directory, hints = planner.recipe, planner.directory, planner.recipe.hints
    is_teacher = role == "teacher"
    has_hints, has_thoughts = bool(is_teacher and hints and hints.teacher), is_teacher and recipe.first_thought
    version = round if not is_teacher and recipe.learner else 0
    inputs = [*planner.weights(role, version)]
    inputs += [HINT_BANK] if has_hints else []
    inputs += [trajectories_output(FIRST_THOUGHT, round)] if has_thoughts else []
    spec = RolloutSpec(
        run_name=recipe.name,
        role=role,
        round=round,
        store=directory.trajectories(role, round),
        agent=collecting_agent(planner, role, round),
        hints=HintContext(planner.hint_bank(), hints, hints.share) if hints and has_hints else None,
        first_thoughts=directory.trajectories(FIRST_THOUGHT, round) if has_thoughts else None,
    )
    return EpisodeStep(
        name=f"collect/{role}/{round}",
        title=planner.titled(f"{role} collects", round),
        phase="rollout",
        kind="collect",
        inputs=tuple(inputs),
        output=trajectories_output(role, round),
        after=planner.after_training(round),
        acts_as=role,
        weight_version=version,
        spec=spec,
        requests=EpisodeRequests(spec, planner.tasks.collect(episodes, round), recipe.collect.attempts),
    )


def collecting_agent(planner: Planner, role: Role, round: int) -> AgentConfig:
    """How ``role`` acts when it collects."""
    recipe, depth = planner.recipe, planner.recipe.collect.student_depth
    agent = recipe.agent.model_copy(update={"sampling": recipe.collect_sampling(role)})
    if role == "student" and depth is not None:
        agent = agent.model_copy(update={"max_steps": depth.steps(round, agent.max_steps)})
    return agent
