"""The plan of a run: all its steps as a frozen graph. The only description of what a run does.

The driver executes it; status, report, the dry run, resource checks and studies read it. A step starts when the steps
that produce its inputs, and those that it is ordered after, have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from cluster.config.recipe import Recipe
from cluster.run.directory import RunDirectory
from cluster.run.steps.collect import plan_collection
from cluster.run.steps.evaluate import plan_baselines, plan_evaluation
from cluster.run.steps.failures import plan_failures
from cluster.run.steps.first_thought import plan_first_thoughts
from cluster.run.steps.hint_bank import plan_hint_bank
from cluster.run.steps.planner import Planner
from cluster.run.steps.score import plan_scores
from cluster.run.steps.step import EpisodeStep, Step
from cluster.run.steps.sync_weights import plan_sync_weights
from cluster.run.steps.train import plan_training
from cluster.run.tasks import TaskLists

ROUND = (
    plan_failures,
    plan_hint_bank,
    plan_first_thoughts,
    plan_collection,
    plan_baselines,
    plan_scores,
    plan_training,
    plan_sync_weights,
)
"""The steps of a round, in the order in which they are planned. Workers prefer the episodes of earlier steps."""


def make_plan(recipe: Recipe, directory: RunDirectory, tasks: TaskLists | None = None) -> Plan:
    """Plan a run; the same recipe gives the same plan at every start.

    Args:
        tasks: drawn from the recipe's environments if not given.

    Raises:
        UserError: a split has no tasks.
    """
    planner = Planner(recipe, directory, tasks or TaskLists(recipe))
    for round in range(recipe.rounds):
        for plan_steps in ROUND:
            planner.add(plan_steps(planner, round))
    planner.add(plan_evaluation(planner))
    return Plan(recipe.name, tuple(planner.steps))


@dataclass(frozen=True)
class Plan:
    """The steps of a run. Every step comes after the steps that it depends on.

    Raises:
        ValueError: two steps share a name or an output, or a step depends on one that does not come before it.
    """

    name: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        before: set[str] = set()
        outputs: set[str] = set()
        for step in self.steps:
            if step.name in before or step.output in outputs:
                raise ValueError(f"two steps are named {step.name} or produce {step.output}")
            if not set(step.after) <= before or not set(step.inputs) <= outputs:
                raise ValueError(f"{step.name} depends on a step that does not come before it")
            before.add(step.name)
            outputs.add(step.output)

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each step by name."""
        return {step.name: place for place, step in enumerate(self.steps)}

    @cached_property
    def producers(self) -> Mapping[str, Step]:
        """The step that produces each output."""
        return {step.output: step for step in self.steps}

    def dependencies(self, step: Step) -> set[str]:
        """Names of the steps that must have ended before ``step`` starts."""
        return {self.producers[name].name for name in step.inputs} | set(step.after)

    def consumers(self, output: str) -> Iterator[Step]:
        """Steps that consume an output."""
        return (step for step in self.steps if output in step.inputs)

    def episode_steps(self, *kinds: str) -> tuple[EpisodeStep, ...]:
        """Steps with episodes, of these kinds (all if none is given)."""
        found = (step for step in self.steps if isinstance(step, EpisodeStep))
        return tuple(step for step in found if not kinds or step.kind in kinds)

    @cached_property
    def stages(self) -> tuple[tuple[Step, ...], ...]:
        """Steps that can be executed at the same time, stage by stage."""
        depth: dict[str, int] = {}
        for step in self.steps:
            depth[step.name] = 1 + max((depth[name] for name in self.dependencies(step)), default=-1)
        return tuple(
            tuple(step for step in self.steps if depth[step.name] == stage)
            for stage in range(max(depth.values(), default=-1) + 1)
        )


def record_splits(steps: Iterable[EpisodeStep], directory: RunDirectory) -> None:
    """Write a digest of the tasks of each split that the run uses to its manifest."""
    tasks = {task.id: task for step in steps for task in step.requests.tasks}
    for split in sorted({task.split for task in tasks.values()}):
        directory.record_split(split, [task for task in tasks.values() if task.split == split])
