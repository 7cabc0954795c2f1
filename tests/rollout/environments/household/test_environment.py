"""The household environment and the source of official games, on small hand-written files."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.environment import Environment, Task
from rollout.environments.household.environment import (
    HouseholdConfig,
    HouseholdEnvironment,
    OfficialGames,
    household_tasks,
)
from rollout.environments.household.game import TaskType
from rollout.environments.household.generator import HouseholdTasks
from rollout.errors import UserError

PROBLEM = """(define (problem p) (:domain alfred) (:init
(receptacleType Shelf_bar_A ShelfType) (receptacleAtLocation Shelf_bar_A loc_1)
(receptacleType Desk_bar_A DeskType) (receptacleAtLocation Desk_bar_A loc_2)
(objectType Book_bar_A BookType) (inReceptacle Book_bar_A Shelf_bar_A) (pickupable Book_bar_A)
(canContain DeskType BookType) (atLocation agent1 loc_0))
(:goal (exists (?r - receptacle) (exists (?o - object)
(and (inReceptacle ?o ?r) (objectType ?o BookType) (receptacleType ?r DeskType))))))"""
WALKTHROUGH = ["go to shelf 1", "take book 1 from shelf 1", "go to desk 1", "move book 1 to desk 1"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A release folder: nine games of the split ``train``, and three that must be left out."""
    for name in (
        *(f"pick_and_place_simple-Book-None-Desk-{i}" for i in range(8)),
        "look_at_obj_in_light-Book-None-DeskLamp-1",
    ):
        write_game(tmp_path / "json_2.1.1" / "train" / name / "trial_1")
    write_game(tmp_path / "json_2.1.1" / "train" / "pick_and_place_simple-Book-None-Desk-8" / "trial_1", solvable=False)
    write_game(tmp_path / "json_2.1.1" / "train" / "pick_and_place_simple-AppleSliced-None-Desk-9" / "trial_1")
    write_game(tmp_path / "json_2.1.1" / "train" / "pick_and_place_with_movable_recep-Pen-Cup-Desk-9" / "trial_1")
    return tmp_path


def write_game(folder: Path, solvable: bool = True) -> None:
    """A game file in ``folder``."""
    folder.mkdir(parents=True)
    grammar = '"rhs": "Your task is to: put some book on desk."'
    fields = {"pddl_problem": PROBLEM, "grammar": grammar, "solvable": solvable, "walkthrough": WALKTHROUGH}
    (folder / "game.tw-pddl").write_text(json.dumps(fields), encoding="utf-8")


def official(data_dir: Path, **settings: object) -> HouseholdConfig:
    return HouseholdConfig.model_validate({"source": "official", "data_dir": str(data_dir), **settings})


def test_an_official_game_is_played_to_its_win_with_reward_one_at_the_last_step(data_dir: Path) -> None:
    environment = HouseholdEnvironment(official(data_dir))
    assert isinstance(environment, Environment)
    task = OfficialGames(str(data_dir)).tasks("train", 1)[0]
    reset = environment.reset(task)
    assert reset.observation.startswith("You are in the middle of a room.")
    assert "task" not in reset.observation
    assert reset.instruction == "put some book on desk"
    steps = [environment.step(command) for command in WALKTHROUGH]
    assert [(step.reward, step.done, step.success, step.valid) for step in steps] == [
        (0.0, False, False, True),
        (0.0, False, False, True),
        (0.0, False, False, True),
        (1.0, True, True, True),
    ]
    after = environment.step("look")
    assert (after.observation, after.reward, after.done, after.valid) == ("Nothing happens.", 0.0, True, False)


def test_a_step_states_whether_it_was_valid_and_its_dialect(data_dir: Path) -> None:
    environment = HouseholdEnvironment(official(data_dir, dialect="put"))
    environment.reset(OfficialGames(str(data_dir)).tasks("train", 1)[0])
    assert (environment.step("dance").valid, environment.step("look").dialect) == (False, "")
    for command in WALKTHROUGH[:3]:
        environment.step(command)
    assert "put book 1 in/on desk 1" in environment.admissible_actions()
    step = environment.step("move book 1 to desk 1")
    assert (step.observation, step.dialect, step.success) == ("You put the book 1 in/on the desk 1.", "move", True)


def test_a_missing_or_damaged_game_file_is_a_value_error_that_names_it(data_dir: Path) -> None:
    environment = HouseholdEnvironment(official(data_dir))
    with pytest.raises(ValueError, match=r"absent.*game\.tw-pddl"):
        environment.reset(Task("t", "household", "train", "", {"game": "train/absent/game.tw-pddl"}))
    damaged = data_dir / "json_2.1.1" / "train" / "pick_and_place_simple-Book-None-Desk-0" / "trial_1" / "game.tw-pddl"
    damaged.write_text(damaged.read_text(encoding="utf-8")[:300], encoding="utf-8")
    with pytest.raises(ValueError, match="cut short"):
        environment.reset(Task("t", "household", "train", "", {"game": str(damaged)}))


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("dialect", ["move", "put"])
def test_generated_houses_allow_whatever_they_list_and_a_task_always_gives_the_same_house(
    size: str, dialect: str
) -> None:
    config = HouseholdConfig.model_validate({"size": size, "dialect": dialect})
    environment, again = HouseholdEnvironment(config), HouseholdEnvironment(config)
    rng = random.Random(0)
    for task in household_tasks(config).tasks("train", 6):
        assert environment.reset(task) == again.reset(task)
        for _ in range(30):
            action = rng.choice(environment.admissible_actions())
            step = environment.step(action)
            assert (step.valid, step) == (True, again.step(action))
            if step.done:
                break


def test_the_source_lists_solvable_games_once_in_an_order_set_by_the_seed(data_dir: Path) -> None:
    source = OfficialGames(str(data_dir))
    everything = source.tasks("train", 100)
    assert len({task.id for task in everything}) == 9
    assert everything == source.tasks("train", 100)
    assert everything[:4] == source.tasks("train", 4)
    assert everything != source.tasks("train", 100, seed=1)
    assert sorted(task.id for task in everything) == sorted(task.id for task in source.tasks("train", 100, seed=1))
    look = [task for task in everything if task.task_type == "look_at_obj_in_light"]
    assert [task.id for task in look] == ["household/train/look_at_obj_in_light-Book-None-DeskLamp-1/trial_1"]


def test_task_types_select_games(data_dir: Path) -> None:
    tasks = household_tasks(official(data_dir, task_types=["look_at_obj_in_light"])).tasks("train", 100)
    assert [task.task_type for task in tasks] == [TaskType.LOOK]


def test_data_dir_may_be_the_release_folder_or_its_parent(data_dir: Path) -> None:
    inside = OfficialGames(str(data_dir / "json_2.1.1"))
    assert inside.splits() == OfficialGames(str(data_dir)).splits() == ["train"]
    assert inside.tasks("train", 3) == OfficialGames(str(data_dir)).tasks("train", 3)


def test_missing_games_raise_an_error_that_explains_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"json_2\.1\.1; get them with `alfworld-download`") as caught:
        OfficialGames(str(tmp_path)).tasks("train", 1)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_split_names_the_splits_that_are_there(data_dir: Path) -> None:
    with pytest.raises(UserError, match="choose a split among train"):
        OfficialGames(str(data_dir)).tasks("validd", 1)


def test_the_configuration_refuses_settings_that_would_be_ignored() -> None:
    with pytest.raises(ValidationError, match="set source: official"):
        HouseholdConfig(data_dir="somewhere")
    with pytest.raises(ValidationError, match="task_types is empty"):
        HouseholdConfig(task_types=())
    with pytest.raises(ValidationError):
        HouseholdConfig.model_validate({"houses": 3})
    assert isinstance(household_tasks(HouseholdConfig()), HouseholdTasks)
