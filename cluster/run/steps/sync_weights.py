"""Step: the student's engines take the weights of the last training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.config.collect import Role
from cluster.run.steps.evaluate import evaluated_agents
from cluster.run.steps.planner import Planner, checkpoint_output, weights_output
from cluster.run.steps.step import Step, StepContext
from cluster.run.tasks import collecting_roles


@dataclass(frozen=True, kw_only=True)
class SyncWeightsStep(Step):
    """Brings the checkpoint in ``folder`` into all engines of a role as ``version``."""

    acts_as: Role
    version: int
    folder: str

    @property
    def role(self) -> Role:
        return self.acts_as

    def is_complete(self, context: StepContext) -> bool:
        """Weights live in engines and not on disk, so they are synced at every start that still needs them."""
        return not context.is_needed(self.output)

    async def execute(self, context: StepContext) -> None:
        with context.timed("load weights"):
            await context.sync_weights(self.acts_as, self.folder, self.version)


def plan_sync_weights(planner: Planner, round: int) -> Iterator[SyncWeightsStep]:
    """One step after the training of a round, if the student acts with its weights.

    It waits for all episodes that need older weights.
    """
    recipe, version = planner.recipe, round + 1
    is_last = version == recipe.rounds
    acts = "student" in (evaluated_agents(recipe) if is_last else collecting_roles(recipe))
    if recipe.learner is None or not acts:
        return
    older = [step for step in planner.episode_steps() if step.role == "student" and step.weight_version < version]
    yield SyncWeightsStep(
        name=f"sync_weights/student/{version}",
        title=planner.titled("student takes the weights", round),
        phase="evaluate" if is_last else "rollout",
        inputs=(checkpoint_output(round),),
        output=weights_output("student", version),
        after=tuple(step.name for step in older),
        acts_as="student",
        version=version,
        folder=str(planner.directory.checkpoint(round)),
    )
