"""The original engine in its child process; runs where the packages alfworld and textworld are installed."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from rollout.environment import Environment, Task
from rollout.environments.household.alfworld_engine import (
    AlfworldConfig,
    AlfworldEnvironment,
    alfworld_tasks,
    installed,
)
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment
from rollout.errors import UserError

ARCHIVE = (
    Path(__file__).parents[4]
    / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data")
    / "alfworld"
    / "games_train_seen.tar.xz"
)
needs_original = pytest.mark.skipif(
    not (installed() and ARCHIVE.is_file()), reason="needs pip install 'stillhouse[alfworld]' and STILLHOUSE_TEST_DATA"
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first three official games of the archive."""
    folder = tmp_path_factory.mktemp("official")
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        games = 0
        for member in archive:
            if member.isfile():
                archive.extract(member, folder, filter="data")
                games += 1
            if games == 3:
                break
    return folder


@pytest.mark.skipif(installed(), reason="the original engine is installed")
def test_a_missing_package_is_explained_with_the_command_that_installs_it() -> None:
    with pytest.raises(UserError, match=r"pip install 'stillhouse\[alfworld\]'"):
        AlfworldEnvironment(AlfworldConfig())


@needs_original
def test_the_original_engine_and_the_simulator_answer_alike(data_dir: Path) -> None:
    """Walkthroughs of three games, with one process for every two episodes, plus nonsense on the way."""
    original = AlfworldEnvironment(AlfworldConfig(data_dir=str(data_dir), recycle_after_episodes=2))
    ours = HouseholdEnvironment(HouseholdConfig(source="official", data_dir=str(data_dir)))
    assert isinstance(original, Environment)
    tasks = alfworld_tasks(AlfworldConfig(data_dir=str(data_dir))).tasks("train", 3)
    for task in tasks:
        walkthrough = json.loads((data_dir / "json_2.1.1" / str(task.payload["game"])).read_text())["walkthrough"]
        assert original.reset(task) == ours.reset(task)
        for command in ("inventory", "fly away", "", *walkthrough, "look"):
            assert original.step(command) == ours.step(command)
            assert original.admissible_actions() == ours.admissible_actions()
    assert len(tasks) == 3
    original.close()


@needs_original
def test_a_step_that_takes_too_long_is_a_timeout_and_the_next_reset_works(data_dir: Path) -> None:
    environment = AlfworldEnvironment(AlfworldConfig(data_dir=str(data_dir), step_timeout_s=1e-6))
    task = alfworld_tasks(AlfworldConfig(data_dir=str(data_dir))).tasks("train", 1)[0]
    for _ in range(2):
        environment.reset(task)
        with pytest.raises(TimeoutError, match="no answer within 1e-06 s"):
            environment.step("look")
    environment.close()


@needs_original
def test_a_damaged_game_is_a_value_error_and_the_next_reset_works(data_dir: Path, tmp_path: Path) -> None:
    environment = AlfworldEnvironment(AlfworldConfig(data_dir=str(data_dir)))
    damaged = tmp_path / "game.tw-pddl"
    damaged.write_text('{"pddl_domain": 7')
    with pytest.raises(ValueError, match="cannot load"):
        environment.reset(Task("t", "alfworld", "train", "", {"game": str(damaged)}))
    with pytest.raises(ValueError, match="there is no game file"):
        environment.reset(Task("t", "alfworld", "train", "", {"game": "absent"}))
    assert environment.reset(alfworld_tasks(AlfworldConfig(data_dir=str(data_dir))).tasks("train", 1)[0]).instruction
    environment.close()
