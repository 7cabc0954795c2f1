"""The tasks of a run: drawn from the recipe's environments, divided among rounds, mixed by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from cluster.config.collect import Role
from cluster.config.environments import apportion, interleave, parts_of
from cluster.config.recipe import Recipe
from cluster.run.phases import PHASES, USED_TASKS
from rollout.environment import HasSplit, Task
from rollout.errors import UserError

DrawTasks = Callable[[BaseModel, str, str, int, int], Sequence[Task]]
"""Tasks of an environment: (its settings, section of the recipe, split, count, seed) -> up to ``count`` tasks."""


class TasksError(UserError):
    """A recipe asks for a split that an environment does not have, that is empty, or that has a task twice."""


@dataclass(frozen=True, slots=True)
class PartTasks:
    """The tasks of one environment: ``per_round`` in each round, round after round; fewer if the split has fewer."""

    tasks: Sequence[Task]
    per_round: int


class TaskLists:
    """The tasks of a recipe's sections ``collect`` and ``evaluate``. The same recipe gives the same lists.

    Args:
        phases: phases that will be executed. A section that none of them uses may have no tasks on this machine.

    Attributes:
        absent: sections that have none.

    Raises:
        TasksError: a split is unknown or empty, or has a task twice; the recipe's section is named.
    """

    def __init__(self, recipe: Recipe, draw: DrawTasks | None = None, phases: Collection[str] = PHASES) -> None:
        self.recipe = recipe
        self.draw = draw or draw_tasks
        self.used = {USED_TASKS[phase] for phase in phases}
        self.absent: set[str] = set()
        collect, evaluate = recipe.collect, recipe.evaluate
        self.collected = self._parts("collect", collect.split, tasks_per_round(recipe), recipe.rounds)
        self.held_out = self._parts("evaluate", evaluate.split, evaluate.episodes) if evaluate else []

    def collect(self, count: int, round: int = 0) -> list[Task]:
        """``count`` tasks of a round."""
        return self._mixed(self.collected, count, round)

    def evaluate(self) -> list[Task]:
        """The held-out tasks, the same for every agent."""
        return self._mixed(self.held_out, self.recipe.evaluate.episodes if self.recipe.evaluate else 0, 0)

    def _parts(self, section: str, split: str, per_round: int, rounds: int = 1) -> list[PartTasks]:
        parts = parts_of(self.recipe.environment)
        shares = apportion(per_round, [part.weight for part in parts])
        try:
            drawn = [
                PartTasks(self.draw(part.environment, section, split, share * rounds, self.recipe.seed), share)
                for part, share in zip(parts, shares, strict=True)
            ]
            require_unique([task.id for part in drawn for task in part.tasks], section, split)
        except UserError:
            if section in self.used:
                raise
            self.absent.add(section)
            return [PartTasks((), share) for share in shares]
        return drawn

    def _mixed(self, parts: Sequence[PartTasks], count: int, round: int) -> list[Task]:
        """Each environment's share of ``count`` tasks, spread evenly."""
        shares = apportion(count, [part.weight for part in parts_of(self.recipe.environment)])
        return interleave(
            [slice_of(part.tasks, round * part.per_round, share) for part, share in zip(parts, shares, strict=True)]
        )


def draw_tasks(environment: BaseModel, section: str, split: str, count: int, seed: int) -> Sequence[Task]:
    """Tasks of the environment's own source. Raises `TasksError` if it has no such split, or no task in it."""
    from rollout.environments.plugins import make_task_source

    source, name = make_task_source(environment), getattr(environment, "type", "")
    splits = source.splits()
    if split not in splits and not (isinstance(source, HasSplit) and source.has_split(split)):
        raise TasksError(f"{section}.split: {name} has no split {split}; choose one of {', '.join(splits)}.")
    tasks = source.tasks(split, count, seed)
    if count and not tasks:
        raise TasksError(f"{section}.split: {split} of {name} has no tasks; choose one of {', '.join(splits)}.")
    return tasks


def require_unique(ids: Sequence[str], section: str, split: str) -> None:
    """Raise `TasksError` if two tasks have the same id, since episodes are stored by it."""
    counts = Counter(ids)
    if repeated := [name for name in counts if counts[name] > 1]:
        more = f" (and {len(repeated) - 1} other ids)" if len(repeated) > 1 else ""
        raise TasksError(
            f"{section}.split: {split} has {counts[repeated[0]]} tasks with the id {repeated[0]}{more}; give each task "
            "an id of its own."
        )


def collecting_roles(recipe: Recipe) -> dict[Role, int]:
    """Tasks that each role collects in a round. Roles that collect nothing are left out."""
    episodes: dict[Role, int] = {"teacher": recipe.collect.teacher_episodes}
    if recipe.student_has_start:
        episodes["student"] = recipe.collect.student_episodes
    return {role: count for role, count in episodes.items() if count}


def failing_episodes(recipe: Recipe) -> int:
    """Tasks that the teacher tries without hints, so that there are failures to write hints from."""
    return recipe.hints.failures_episodes if recipe.hints and recipe.hints.bank is None else 0


def tasks_per_round(recipe: Recipe) -> int:
    """Tasks that a round draws: as many as its largest step needs."""
    return max(*collecting_roles(recipe).values(), failing_episodes(recipe), 0)


def slice_of(tasks: Sequence[Task], start: int, count: int) -> list[Task]:
    """``count`` tasks from ``start`` on; a data set that is too small is reused from its beginning."""
    return [tasks[i % len(tasks)] for i in range(start, start + min(count, len(tasks)))]
