"""Generated houses are deterministic and solvable, and held-out splits are disjoint from ``train``."""

from collections import Counter
from itertools import pairwise

import pytest

from rollout.environments.generated import SPLITS
from rollout.environments.household.game import Game, TaskType
from rollout.environments.household.generator import (
    HouseholdTasks,
    generate_game,
    is_held_back_layout,
    is_held_back_pair,
)
from rollout.environments.household.simulator import Simulator
from tests.rollout.processes import printed_by_two

COUNT = 150


def games(split: str, size: str = "small") -> list[Game]:
    return [generate_game(task.payload) for task in HouseholdTasks(size).tasks(split, COUNT)]


def layout(game: Game) -> dict[str, int]:
    return dict(Counter(receptacle.type for receptacle in game.receptacles))


def pairs(game: Game) -> set[tuple[str, str]]:
    """Every object-receptacle pair of a game: what lies where, and where the goal's object must go."""
    placed = {(thing.type, thing.receptacle.split()[0]) for thing in game.things if thing.receptacle}
    goal = (game.goal.object_type, game.goal.receptacle_type)
    return placed | ({goal} if game.goal.receptacle_type else set())


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("split", ["train", "valid_seen"])
def test_held_out_layouts_and_pairs_never_occur_in_train(split: str, size: str) -> None:
    for game in games(split, size):
        assert not is_held_back_layout(layout(game))
        assert not any(is_held_back_pair(*pair) for pair in pairs(game))


@pytest.mark.parametrize("size", ["small", "full"])
def test_unseen_houses_have_unseen_layouts_and_goals_on_unseen_pairs(size: str) -> None:
    for game in games("valid_unseen", size):
        goal = game.goal
        assert is_held_back_layout(layout(game))
        if goal.receptacle_type:
            assert is_held_back_pair(goal.object_type, goal.receptacle_type)
        else:
            sources = {t.receptacle.split()[0] for t in game.things if t.type == goal.object_type and t.receptacle}
            assert all(is_held_back_pair(goal.object_type, source) for source in sources)


@pytest.mark.parametrize("split", SPLITS)
def test_no_house_begins_with_its_task_done_and_every_object_lies_where_it_may(split: str) -> None:
    for game in games(split, "full"):
        simulator = Simulator(game)
        simulator.step("look")
        assert not simulator.won
        for thing in game.things:
            assert thing.receptacle is not None
            assert thing.type in game.can_contain[thing.receptacle.split()[0]]


def test_a_task_about_two_objects_has_at_least_two_of_them() -> None:
    tasks = HouseholdTasks("small", (TaskType.TWO,)).tasks("train", 50)
    for game in (generate_game(task.payload) for task in tasks):
        assert sum(thing.type == game.goal.object_type for thing in game.things) >= 2


def test_the_six_families_take_turns_and_names_number_downwards_within_a_type() -> None:
    tasks = HouseholdTasks("full").tasks("train", 12)
    assert [task.task_type for task in tasks] == 2 * [family.value for family in TaskType]
    for game in (generate_game(task.payload) for task in tasks):
        for one, other in pairwise(thing.name.split() for thing in game.things):
            assert one[0] < other[0] or int(one[1]) == int(other[1]) + 1


def test_another_process_generates_the_same_houses() -> None:
    code = (
        "from rollout.environments.household.generator import *; import hashlib;"
        "games = [generate_game(t.payload) for t in HouseholdTasks('full').tasks('train', 20)];"
        "print(hashlib.sha256(repr([(g.receptacles, g.things, g.instruction) for g in games]).encode()).hexdigest())"
    )
    one, other = printed_by_two(code)
    assert one == other != ""


def test_a_smaller_count_returns_the_first_tasks_and_seeds_differ() -> None:
    source = HouseholdTasks("small")
    assert source.tasks("train", 3) == source.tasks("train", 9)[:3]
    one, other = (generate_game(source.tasks("train", 1, seed)[0].payload) for seed in (0, 1))
    assert one != other


def test_mixed_houses_are_small_and_full_in_turn() -> None:
    sizes = [task.payload["size"] for task in HouseholdTasks("mixed").tasks("train", 24)]
    assert sizes == 2 * (6 * ["small"] + 6 * ["full"])


def test_a_type_that_is_named_twice_is_drawn_twice_as_often_in_houses_of_both_sizes() -> None:
    types = (TaskType.PLACE, TaskType.TWO, TaskType.TWO)
    drawn = Counter(
        (task.task_type, task.payload["size"]) for task in HouseholdTasks("mixed", types).tasks("train", 12)
    )
    place, two = TaskType.PLACE.value, TaskType.TWO.value
    assert drawn == {(place, "small"): 2, (place, "full"): 2, (two, "small"): 4, (two, "full"): 4}


def test_a_task_of_another_generator_is_rejected_with_a_sentence() -> None:
    payload = {**HouseholdTasks("small").tasks("train", 1)[0].payload, "generator": 99}
    with pytest.raises(ValueError, match="house generator 99"):
        generate_game(payload)


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="valid_unseen"):
        HouseholdTasks("small").tasks("test", 1)
