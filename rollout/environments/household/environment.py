"""The household environment, and the official ALFWorld games as a task source."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from rollout.environment import Payload, Reset, Step, Task, TaskSource, started
from rollout.environments.household.game import Game, TaskType
from rollout.environments.household.generator import HouseholdTasks, Size, generate_game
from rollout.environments.household.pddl import read_game
from rollout.environments.household.simulator import Simulator
from rollout.environments.household.text import NOTHING_HAPPENS, Dialect
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel, reject
from rollout.grammar import PLACEHOLDER

_GAME_FILE = "game.tw-pddl"
_RELEASE = "json_2.1.1"
_VERBS = "go to,open,close,take,move,put,examine,use,heat,clean,cool,slice"
ACTION_FORMS = ("look", "inventory", "help", *(f"{verb} {PLACEHOLDER}" for verb in _VERBS.split(",")))
_UNSOLVABLE = re.compile(rb'"solvable"\s*:\s*false')


class HouseholdConfig(FrozenModel):
    """Settings of the household environment."""

    type: Literal["household"] = "household"
    source: Literal["generated", "official"] = "generated"
    """Generated houses, or ALFWorld's official games."""
    size: Size = "full"
    """Size of generated houses; ``mixed`` alternates between small and full."""
    data_dir: str | None = None
    """Folder of the official games: ``json_2.1.1`` itself or its parent. None is the folder of ``alfworld-download``:
    ``$ALFWORLD_DATA``, else ``~/.cache/alfworld``."""
    dialect: Dialect = "move"
    """Wording of replies and of admissible actions; commands are accepted in both dialects."""
    task_types: tuple[TaskType, ...] = tuple(TaskType)
    """Task types to draw from. Of generated tasks, a type that is named twice is drawn twice as often."""

    @model_validator(mode="after")
    def _check(self) -> HouseholdConfig:
        reject(
            (
                self.data_dir is not None and self.source == "generated",
                "data_dir is read with source: official only; set source: official or leave data_dir out",
            ),
            (
                not self.task_types,
                f"task_types is empty; name at least one of {', '.join(TaskType)}, or leave it out for all",
            ),
        )
        return self


class HouseholdEnvironment:
    """Generated houses (payload as in `generate_game`) and official games (payload ``{"game": path}``).

    A relative ``game`` path is looked up in the folder of the official games.
    """

    action_templates = ACTION_FORMS

    def __init__(self, config: HouseholdConfig) -> None:
        self._config = config
        self._simulator: Simulator | None = None

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its game file is missing or damaged."""
        game = self._game(task.payload)
        self._simulator = Simulator(game, wording=self._config.dialect)
        return Reset(observation=self._simulator.intro(), instruction=game.instruction)

    def step(self, action: str) -> Step:
        """Execute a command. A win ends the episode with reward 1; later commands do nothing."""
        simulator = started(self._simulator)
        if simulator.won:
            return Step(NOTHING_HAPPENS, done=True, success=True, valid=False)
        reply = simulator.step(action)
        return Step(
            observation=reply.observation,
            reward=1.0 if simulator.won else 0.0,
            done=simulator.won,
            success=simulator.won,
            valid=reply.admissible,
            dialect=reply.dialect or "",
        )

    def admissible_actions(self) -> Sequence[str]:
        return started(self._simulator).admissible()

    def fork(self) -> HouseholdEnvironment:
        """An independent copy of the current state."""
        other = HouseholdEnvironment(self._config)
        other._simulator = started(self._simulator).copy()
        return other

    def close(self) -> None:
        self._simulator = None

    def _game(self, payload: Payload) -> Game:
        if "game" in payload:
            return read_game(official_folder(self._config.data_dir) / str(payload["game"]))
        return generate_game(payload)


@dataclass(frozen=True, slots=True)
class OfficialGames:
    """Task source of the official ALFWorld games. A task names its file relative to the folder of the games.

    Attributes:
        data_dir: as in `HouseholdConfig`.
        task_types: task types to draw from.
        environment: environment of the tasks: ``household`` or ``alfworld``.
    """

    data_dir: str | None = None
    task_types: tuple[TaskType, ...] = tuple(TaskType)
    environment: str = "household"

    def splits(self) -> Sequence[str]:
        """Names of the subfolders, sorted. Raises `UserError` if the data is missing."""
        return sorted(path.name for path in self._folder().iterdir() if path.is_dir())

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` solvable games of ``split``, shuffled by ``seed``; fewer if there are no more.

        Raises:
            UserError: the data or the split is missing, or has no game of these task types.
        """
        folder = self._folder()
        files = [path for path in sorted((folder / split).glob(f"*/*/{_GAME_FILE}")) if self._wanted(path)]
        if not files:
            raise UserError(
                f"no ALFWorld game of the types {', '.join(self.task_types)} in {folder / split}; "
                f"choose a split among {', '.join(self.splits()) or 'none'}, or other task_types"
            )
        random.Random(seed).shuffle(files)
        solvable = (path for path in files if not _UNSOLVABLE.search(path.read_bytes()))
        return [self._task(split, path.relative_to(folder)) for path in islice(solvable, count)]

    def _folder(self) -> Path:
        folder = official_folder(self.data_dir)
        if folder.is_dir():
            return folder
        raise UserError(
            f"the official ALFWorld games are not at {folder}; get them with `alfworld-download` (Python package "
            f"alfworld), or set data_dir to your {_RELEASE} folder"
        )

    def _wanted(self, path: Path) -> bool:
        # ALFWorld excludes tasks with sliced objects and movable receptacles too.
        name = path.parent.parent.name
        return _task_type(path) in self.task_types and "Sliced" not in name and "movable" not in name

    def _task(self, split: str, path: Path) -> Task:
        return Task(
            id=f"{self.environment}/{path.parent.as_posix()}",
            environment=self.environment,
            split=split,
            task_type=_task_type(path),
            payload={"game": path.as_posix()},
        )


def household_tasks(config: HouseholdConfig) -> TaskSource:
    """The task source for ``config``."""
    if config.source == "official":
        return OfficialGames(config.data_dir, config.task_types)
    return HouseholdTasks(config.size, config.task_types)


def official_folder(data_dir: str | None) -> Path:
    """The folder of the official games' splits; ``data_dir`` is that folder, its parent, or None for the default."""
    base = Path(data_dir or os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()
    return base if base.name == _RELEASE or (base / "train").is_dir() else base / _RELEASE


def _task_type(path: Path) -> str:
    return path.parent.parent.name.split("-")[0]
