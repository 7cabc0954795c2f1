"""Tasks and files that a recipe needs: how many exist on this machine, or what is missing."""

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
class DataSource:
    """Data that a section of the recipe reads from one source.

    Attributes:
        wanted: number of tasks; 0 for a file.
        found: number of these tasks that exist; None if the data is missing on this machine.
        missing: how to get missing data.
        finding: problem or note about the data.
    """

    section: str
    source: str
    wanted: int = 0
    found: int | None = 0
    missing: str = ""
    finding: Finding | None = None


class TaskCounter:
    """Draws the tasks of a plan and counts them. Placeholders replace tasks that are missing on this machine."""

    def __init__(self) -> None:
        self.data: list[DataSource] = []

    def draw(self, environment: BaseModel, section: str, split: str, count: int, seed: int) -> Sequence[Task]:
        """Draw tasks of an environment (implements `cluster.run.tasks.DrawTasks`)."""
        if not count:
            return []
        name = str(getattr(environment, "type", ""))
        try:
            tasks = draw_tasks(environment, section, split, count, seed)
        except TasksError as error:
            self.data.append(DataSource(section, f"{name} {split}", count, finding=Finding(str(error), fatal=True)))
        except UserError as error:
            self.data.append(DataSource(section, f"{name} {split}", count, None, str(error)))
        else:
            self.data.append(_counted(section, f"{name} {split}", count, len(tasks)))
            return tasks
        return [Task(f"{name}/{split}/{number}", name, split, "") for number in range(count)]


def _counted(section: str, source: str, wanted: int, found: int) -> DataSource:
    if found >= wanted:
        return DataSource(section, source, wanted, found)
    fewer = f"{section} requests {wanted:,} tasks of {source}, but only {found:,} exist; all of them are used"
    return DataSource(section, source, wanted, found, finding=Finding(fewer))


def file_sources(recipe: Recipe) -> Iterator[DataSource]:
    """The files and folders that a recipe reads."""
    if recipe.retrieval is not None:
        how = "set retrieval.corpus to a title/text dump (.jsonl, .parquet) or to the folder of its index"
        yield _file("retrieval", recipe.retrieval.corpus, how)
    if recipe.hints is not None and recipe.hints.bank is not None:
        yield _file("hints", recipe.hints.bank, "set hints.bank to the file of a hint bank, or remove it to build one")
    for store in recipe.collect.also:
        yield _file(
            "collect.also", store, "set collect.also to RUN_DIR/trajectories/teacher/round=000 of finished runs"
        )


def _file(section: str, path: str, how: str) -> DataSource:
    if "://" in path or Path(path).expanduser().exists():
        return DataSource(section, path)
    return DataSource(section, path, found=None, missing=f"there is no {path}; {how}")
