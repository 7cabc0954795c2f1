"""Tasks and files that a recipe needs: how many exist on this machine, or what is missing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from cluster.config.paths import DATA_KEYS
from cluster.config.recipe import Recipe
from cluster.dry_run.findings import Finding
from cluster.run.phases import PHASES
from cluster.run.tasks import TasksError, draw_tasks, require_unique
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
            require_unique([task.id for task in tasks], section, split)
        except TasksError as error:
            self.data.append(DataSource(section, f"{name} {split}", count, finding=Finding(str(error), fatal=True)))
        except UserError as error:
            self.data.append(_unavailable(environment, section, f"{name} {split}", count, str(error)))
        else:
            self.data.append(_counted(section, f"{name} {split}", count, len(tasks)))
            return tasks
        return [Task(f"{name}/{split}/{number}", name, split, "") for number in range(count)]


def _unavailable(environment: BaseModel, section: str, source: str, wanted: int, error: str) -> DataSource:
    """Data that is missing on this machine, or that is here and cannot be used."""
    paths = [str(value) for key, value in environment if key in DATA_KEYS and value is not None]
    if any(exists(path) and _holds_something(os.path.expanduser(path)) for path in paths):
        return DataSource(section, source, wanted, finding=Finding(error, fatal=True))
    return DataSource(section, source, wanted, None, error)


def _holds_something(path: str) -> bool:
    return os.path.isfile(path) or bool(os.listdir(path))


def exists(path: str) -> bool:
    """Whether a path exists; False also if the system cannot look."""
    return os.path.exists(os.path.expanduser(path))


def _counted(section: str, source: str, wanted: int, found: int) -> DataSource:
    if found >= wanted:
        return DataSource(section, source, wanted, found)
    fewer = f"{section} requests {wanted:,} tasks of {source}, but only {found:,} exist; all of them are used"
    return DataSource(section, source, wanted, found, finding=Finding(fewer))


def file_sources(recipe: Recipe, phases: Collection[str] = PHASES) -> Iterator[DataSource]:
    """The files and folders that a recipe reads in these phases."""
    acts = bool({"rollout", "evaluate"} & set(phases))
    if recipe.retrieval is not None and acts:
        how = "set retrieval.corpus to a title/text dump (.jsonl, .parquet) or to the folder of its index"
        yield _file("retrieval", recipe.retrieval.corpus, how)
    if recipe.hints is not None and recipe.hints.bank is not None and acts:
        yield _file("hints", recipe.hints.bank, "set hints.bank to the file of a hint bank, or remove it to build one")
    for store in recipe.collect.also if "train" in phases else ():
        yield _file(
            "collect.also", store, "set collect.also to RUN_DIR/trajectories/teacher/round=000 of finished runs"
        )


def _file(section: str, path: str, how: str) -> DataSource:
    if "://" in path or exists(path):
        return DataSource(section, path)
    return DataSource(section, path, found=None, missing=f"there is no {path}; {how}")
