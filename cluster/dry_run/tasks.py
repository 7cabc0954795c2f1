"""The tasks and the corpus that a recipe asks for: how many there are, or what a user must get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from cluster.config.environments import apportion, parts_of
from cluster.config.recipe import Recipe
from cluster.dry_run.findings import Finding
from cluster.run.plan import tasks_per_round
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


def data_of(recipe: Recipe) -> Iterator[Data]:
    """All of it, in the recipe's order."""
    collect, evaluate = recipe.collect, recipe.evaluate
    yield from _tasks(recipe, "collect", collect.split, tasks_per_round(recipe), recipe.rounds)
    if evaluate is not None:
        yield from _tasks(recipe, "evaluate", evaluate.split, evaluate.episodes)
    if recipe.retrieval is not None:
        how = "set retrieval.corpus to a title/text dump (.jsonl, .parquet) or to the folder of its index"
        yield _file("retrieval", recipe.retrieval.corpus, how)
    if recipe.hints is not None and recipe.hints.bank is not None:
        yield _file(
            "hints", recipe.hints.bank, "set hints.bank to the file of a bank, or leave it out to have one made"
        )
    for store in collect.also:
        yield _file(
            "collect.also", store, "set collect.also to RUN_DIR/trajectories/teacher/round=000 of finished runs"
        )


def _tasks(recipe: Recipe, section: str, split: str, per_round: int, rounds: int = 1) -> Iterator[Data]:
    parts = parts_of(recipe.environment)
    for part, share in zip(parts, apportion(per_round, [part.weight for part in parts]), strict=True):
        if share:
            yield _of_part(part.environment, section, split, share * rounds, recipe.seed)


def _of_part(environment: BaseModel, section: str, split: str, count: int, seed: int) -> Data:
    from rollout.environments.plugins import make_task_source

    name = str(getattr(environment, "type", ""))
    source = f"{name} {split}"
    try:
        tasks = make_task_source(environment)
        splits = tasks.splits()
        if split not in splits:
            wrong = f"{section}.split is {split}, which is not there of {name}; choose one of {', '.join(splits)}"
            return Data(section, source, count, finding=Finding(wrong, fatal=True))
        found = len(tasks.tasks(split, count, seed))
    except UserError as error:
        return Data(section, source, count, None, str(error))
    if found >= count:
        return Data(section, source, count, found)
    fewer = f"{section} asks for {count:,} tasks of {source}; there are {found:,}, and all are played"
    return Data(section, source, count, found, finding=Finding(fewer, fatal=not found))


def _file(section: str, path: str, how: str) -> Data:
    if "://" in path or Path(path).expanduser().exists():
        return Data(section, path)
    return Data(section, path, found=None, missing=f"there is no {path}; {how}")
