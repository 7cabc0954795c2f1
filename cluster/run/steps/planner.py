"""What the steps need to plan themselves: recipe, run directory, tasks, and the steps planned before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cluster.config.collect import Role
from cluster.config.recipe import Recipe
from cluster.run.directory import RunDirectory
from cluster.run.steps.step import EpisodeStep, Step
from cluster.run.tasks import TaskLists

HINT_BANK = "hints.parquet"


@dataclass
class Planner:
    """Collects the steps of a run. Later steps find earlier ones in ``steps``."""

    recipe: Recipe
    directory: RunDirectory
    tasks: TaskLists
    steps: list[Step] = field(default_factory=list)

    def add(self, steps: Iterable[Step]) -> None:
        """Add steps after those that are there."""
        self.steps.extend(steps)

    def titled(self, title: str, round: int) -> str:
        """The title of a step of a round; the round is named if there are several."""
        return f"{title}, round {round}" if self.recipe.rounds > 1 else title

    def episode_steps(self, *kinds: str) -> Iterator[EpisodeStep]:
        """Planned steps with episodes, of these kinds (all if none is given)."""
        for step in self.steps:
            if isinstance(step, EpisodeStep) and (not kinds or step.kind in kinds):
                yield step

    def of_round(self, round: int, *kinds: str) -> list[EpisodeStep]:
        """Those of a round."""
        return [step for step in self.episode_steps(*kinds) if step.spec.round == round]

    def after_training(self, round: int) -> tuple[str, ...]:
        """The training that ends before a round begins: rounds are in strict order."""
        return (f"train/{round - 1}",) if round and self.recipe.learner is not None else ()

    def weights(self, role: Role, version: int) -> tuple[str, ...]:
        """The input of a step that needs trained weights; none for the weights that an engine starts with."""
        return (weights_output(role, version),) if version else ()

    def hint_bank(self) -> str:
        """The file of the run's hint bank."""
        return str(self.directory.hint_bank)


def weights_output(role: Role, version: int) -> str:
    """Output of the step that brings trained weights into the engines of a role."""
    return f"weights/{role}/{version}"


def trajectories_output(name: str, round: int) -> str:
    """Output of a step that collects, prepares or scores episodes."""
    return f"trajectories/{name}/round={round:03d}"


def checkpoint_output(round: int) -> str:
    """Output of the training of a round."""
    return f"checkpoints/round={round:03d}"
