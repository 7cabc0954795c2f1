"""The tasks and the corpus that a recipe asks for: how many there are, or what a user must get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from cluster.config.recipe import Recipe
from cluster.dry_run.findings import Finding
from cluster.run.tasks import TasksError, draw_tasks
from rollout.environment import Task
from rollout.errors import UserError


@dataclass(frozen=True, slots=True)
class Data:
    """What a section of the recipe takes of one source.

    Attributes:
        wanted: tasks; 0 where there is nothing to count.
        found: of them, how many there are; None if they are not on this machine.
        missing: what a user must get.
        finding: what is wrong, or worth knowing.
    """

    section: str
    source: str
    wanted: int = 0
    found: int | None = 0
    missing: str = ""
    finding: Finding | None = None


class TaskCounter:
    """Draws the tasks of a plan and counts them. Placeholders stand for tasks that are not on this machine."""

    def __init__(self) -> None:
        self.data: list[Data] = []

    def draw(self, environment: BaseModel, section: str, split: str, count: int, seed: int) -> Sequence[Task]:
        """Tasks of an environment (`cluster.run.tasks.DrawTasks`)."""
        if not count:
            return []
        name = str(getattr(environment, "type", ""))
        try:
            tasks = draw_tasks(environment, section, split, count, seed)
        except TasksError as error:
            self.data.append(Data(section, f"{name} {split}", count, finding=Finding(str(error), fatal=True)))
        except UserError as error:
            self.data.append(Data(section, f"{name} {split}", count, None, str(error)))
        else:
            self.data.append(_counted(section, f"{name} {split}", count, len(tasks)))
            return tasks
        return [Task(f"{name}/{split}/{number}", name, split, "") for number in range(count)]


def _counted(section: str, source: str, wanted: int, found: int) -> Data:
    if found >= wanted:
        return Data(section, source, wanted, found)
    fewer = f"{section} asks for {wanted:,} tasks of {source}; there are {found:,}, and all of them are used"
    return Data(section, source, wanted, found, finding=Finding(fewer))


def files_of(recipe: Recipe) -> Iterator[Data]:
    """The files and folders that a recipe reads."""
    if recipe.retrieval is not None:
        how = "set retrieval.corpus to a title/text dump (.jsonl, .parquet) or to the folder of its index"
        yield _file("retrieval", recipe.retrieval.corpus, how)
    if recipe.hints is not None and recipe.hints.bank is not None:
        yield _file(
            "hints", recipe.hints.bank, "set hints.bank to the file of a bank, or leave it out to have one made"
        )
    for store in recipe.collect.also:
        yield _file(
            "collect.also", store, "set collect.also to RUN_DIR/trajectories/teacher/round=000 of finished runs"
        )


def _file(section: str, path: str, how: str) -> Data:
    if "://" in path or Path(path).expanduser().exists():
        return Data(section, path)
    return Data(section, path, found=None, missing=f"there is no {path}; {how}")
