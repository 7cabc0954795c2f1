"""The original ALFWorld engine (packages ``alfworld`` and ``textworld``) with the interface of our environment.

It is slow, not thread-safe and leaks memory, so it runs in a child process that is replaced after a number of
episodes, after a step timeout and after a crash. The child returns JSON only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from rollout.child_process import ChildProcess
from rollout.environment import Reset, Step, Task
from rollout.environments.household.environment import OfficialGames, official_folder
from rollout.environments.household.game import TaskType
from rollout.environments.household.text import NOTHING_HAPPENS
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel

_CHILD = Path(__file__).with_name("alfworld_child.py")
_TASK = "Your task is to: "
_PACKAGES = ("alfworld", "textworld", "fast_downward")


class AlfworldConfig(FrozenModel):
    """Settings of the original engine."""

    type: Literal["alfworld"] = "alfworld"
    data_dir: str | None = None
    """Folder of the official games, as in `HouseholdConfig`."""
    task_types: tuple[TaskType, ...] = tuple(TaskType)
    """Task types to draw from."""
    recycle_after_episodes: int = Field(50, ge=1)
    """Number of episodes after which the child process is replaced."""
    step_timeout_s: float = Field(30.0, gt=0)
    """Time limit of a step; the child is killed when it is exceeded."""
    start_timeout_s: float = Field(120.0, gt=0)
    """Time limit for starting a game, including the start of the child."""


class _Answer(FrozenModel):
    error: str = ""
    observation: str = ""
    admissible: tuple[str, ...] = ()
    won: bool = False
    cpu_s: float = 0.0


class AlfworldEnvironment:
    """Official games (payload ``{"game": path}``) in the original engine, whose process it limits and replaces itself.

    Raises:
        UserError: the original engine is not installed.
    """

    def __init__(self, config: AlfworldConfig) -> None:
        if not installed():
            raise UserError("the original ALFWorld engine is not installed; run: pip install 'stillhouse[alfworld]'")
        self._config = config
        self.child_cpu_s = 0.0
        """CPU time of the current child at its last answer; 0 before the first."""
        self._child = ChildProcess(
            _CHILD, "the original ALFWorld engine", environment=("ALFWORLD_DATA",), keep_stderr=True
        )
        self._episodes = 0
        self._admissible: tuple[str, ...] = ()
        self._won = False

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its file is missing or the engine cannot load it."""
        path = official_folder(self._config.data_dir) / str(task.payload.get("game"))
        if not path.is_file():
            raise ValueError(f"there is no game file {path}")
        if self._episodes >= self._config.recycle_after_episodes:
            self.close()
        self._episodes += 1
        try:
            answer = self._ask({"game": str(path)}, self._config.start_timeout_s)
        except AlfworldError as error:
            raise ValueError(f"the original engine cannot load {path}: {error}") from error
        _, room, goal = answer.observation.split("\n\n", 2)
        return Reset(observation=room, instruction=goal.strip().removeprefix(_TASK).removesuffix("."))

    def step(self, action: str) -> Step:
        """Execute a command.

        Raises:
            TimeoutError: the step took longer than ``step_timeout_s``; the next ``reset`` starts a new child.
            ChildProcessError: the child died; likewise.
        """
        if self._won:
            return Step(NOTHING_HAPPENS, done=True, success=True, valid=False)
        valid = action.strip() in self._admissible
        answer = self._ask({"action": action}, self._config.step_timeout_s)
        verb = action.split(maxsplit=1)[0] if action.strip() else ""
        return Step(
            observation=answer.observation,
            reward=1.0 if self._won else 0.0,
            done=self._won,
            success=self._won,
            valid=valid,
            dialect=verb if verb in ("move", "put") else "",
        )

    def admissible_actions(self) -> Sequence[str]:
        return sorted(self._admissible)

    def close(self) -> None:
        self._child.stop()
        self._episodes, self.child_cpu_s = 0, 0.0

    def _ask(self, request: dict[str, str], timeout_s: float) -> _Answer:
        if not self._episodes:
            raise RuntimeError("reset must come before the first step")
        try:
            answer = _Answer.model_validate(self._child.ask(request, timeout_s))
        except (TimeoutError, ChildProcessError):
            self.close()
            raise
        if answer.error:
            raise AlfworldError(answer.error)
        self._admissible, self._won, self.child_cpu_s = answer.admissible, answer.won, answer.cpu_s
        return answer


def alfworld_tasks(config: AlfworldConfig) -> OfficialGames:
    """The official games as tasks of the original engine."""
    return OfficialGames(config.data_dir, config.task_types, environment="alfworld")


def installed() -> bool:
    """Whether the packages of the original engine are installed; imports none of them."""
    return all(importlib.util.find_spec(package) for package in _PACKAGES)


class AlfworldError(Exception):
    """The original engine raised on a command or a game; its process lives on."""
