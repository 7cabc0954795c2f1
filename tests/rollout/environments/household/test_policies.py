"""The expert explores and wins from observations alone; the random policy states true facts and ignores the task."""

import re
from itertools import pairwise

import pytest

from rollout.environments.household.belief_state import BeliefState, ParsedTask, purpose, read_task
from rollout.environments.household.expert_policy import NO_MISTAKES, ErrorRates, HouseholdExpert
from rollout.environments.household.game import Game, TaskType
from rollout.environments.household.generator import HouseholdTasks, generate_game
from rollout.environments.household.random_policy import HouseholdRandomPolicy
from rollout.environments.household.simulator import Simulator
from rollout.environments.household.text import NOTHING_HAPPENS
from rollout.environments.policies import policy_names
from rollout.scripted_policy import TextPolicy

TURN = re.compile(r"Thought: (.+)\nAction: (.+)")
LIMIT = {"small": 30, "full": 50}


def play(game: Game, policy: TextPolicy, limit: int) -> tuple[bool, list[tuple[str, str, str]]]:
    """Whether it won, and (thought, action, observation) of each turn."""
    simulator = Simulator(game)
    text = f"{simulator.intro()}\nYour task is to: {game.instruction}."
    turns = []
    while not simulator.won and len(turns) < limit:
        match = TURN.fullmatch(policy.respond(text))
        assert match
        text = simulator.step(match.group(2)).observation
        turns.append((match.group(1), match.group(2), text))
    return simulator.won, turns


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("split", ["train", "valid_unseen"])
def test_the_expert_wins_every_task_type_within_the_step_limit(size: str, split: str) -> None:
    tasks = HouseholdTasks(size).tasks(split, 120, seed=3)
    won = [play(generate_game(task.payload), HouseholdExpert(7), LIMIT[size])[0] for task in tasks]
    assert sum(won) / len(won) >= 0.98


def test_the_expert_searches_and_does_not_walk_straight_to_what_it_has_not_seen() -> None:
    """An oracle would never search a place in vain."""
    tasks = HouseholdTasks("full").tasks("train", 60, seed=3)
    thoughts = [
        thought
        for task in tasks
        for thought, _, _ in play(generate_game(task.payload), HouseholdExpert(0, error_rates=NO_MISTAKES), 50)[1]
    ]
    in_vain = [thought for thought in thoughts if "Not at" in thought]
    assert len(in_vain) > 3 * len(tasks)


def test_the_expert_names_only_objects_it_has_read_of() -> None:
    careful = ErrorRates(wrong_number=0.0)
    for task in HouseholdTasks("small").tasks("train", 60, seed=4):
        game = generate_game(task.payload)
        read = Simulator(game).intro()
        for thought, action, observation in play(game, HouseholdExpert(1, careful), 30)[1]:
            for name in re.findall(r"[a-z]+ \d+", thought + " " + action):
                assert name in read
            read += observation


def test_after_a_wrong_number_the_expert_takes_the_thing_that_is_there() -> None:
    clumsy, slips = ErrorRates(0.0, wrong_number=0.5, forget=0.0), 0
    for task in HouseholdTasks("small", (TaskType.PLACE,)).tasks("train", 20, seed=3):
        won, turns = play(generate_game(task.payload), HouseholdExpert(0, clumsy), 30)
        assert won
        for (_, action, observation), (_, after, _) in pairwise(turns):
            if action.startswith("take ") and observation == NOTHING_HAPPENS:
                slips += 1
                assert after.startswith("take ")
                assert after.split(" from ")[1] == action.split(" from ")[1]
    assert slips > 5


def test_an_expert_that_forgot_where_the_thing_was_searches_everything_and_begins_again() -> None:
    forgetful = ErrorRates(0.0, 0.0, forget=1.0)
    tasks = HouseholdTasks("small", (TaskType.LOOK,)).tasks("train", 60, seed=3)
    again = 0
    for task in tasks:
        won, turns = play(generate_game(task.payload), HouseholdExpert(0, forgetful), 30)
        assert won
        places = [action for _, action, _ in turns if action.startswith("go to ")]
        again += len(places) > len(set(places))
    assert again > 10


def test_without_mistakes_the_expert_is_the_same_for_every_seed() -> None:
    game = generate_game(HouseholdTasks("full").tasks("train", 1)[0].payload)
    one, other = (play(game, HouseholdExpert(seed, error_rates=NO_MISTAKES), 50) for seed in (1, 2))
    assert one == other


def test_the_random_policy_rarely_wins() -> None:
    tasks = HouseholdTasks("small").tasks("train", 150, seed=3)
    won = [play(generate_game(task.payload), HouseholdRandomPolicy(seed), 30)[0] for seed, task in enumerate(tasks)]
    assert sum(won) / len(won) <= 0.10


def test_thoughts_of_the_random_policy_are_true() -> None:
    """``Not at`` a place names an absent type; a name with a number is present."""
    for seed, task in enumerate(HouseholdTasks("small").tasks("train", 60, seed=5)):
        game = generate_game(task.payload)
        known = BeliefState()
        known.read_first(Simulator(game).intro())
        for thought, _, observation in play(game, HouseholdRandomPolicy(seed), 20)[1]:
            here = known.here()
            if match := re.search(r"I need (\w+)\. Not at", thought):
                assert all(match.group(1) != thing.split()[0] for thing in here)
            if match := re.search(r"I need (\w+ \d+)\. I (?:take|use)", thought):
                assert match.group(1) in here
            known.read(observation)


@pytest.mark.parametrize(
    ("text", "task", "words"),
    [
        (
            "put a pen in desk.",
            ParsedTask(TaskType.PLACE, "pen", "desk"),
            "For desk",
        ),
        (
            "put some pen on desk.",
            ParsedTask(TaskType.PLACE, "pen", "desk"),
            "For desk",
        ),
        (
            "clean some cup and put it in shelf.",
            ParsedTask(TaskType.CLEAN, "cup", "shelf"),
            "For shelf to clean",
        ),
        (
            "put a hot egg in sidetable.",
            ParsedTask(TaskType.HEAT, "egg", "sidetable"),
            "For sidetable to heat",
        ),
        (
            "cool some pot and put it in cabinet.",
            ParsedTask(TaskType.COOL, "pot", "cabinet"),
            "For cabinet to cool",
        ),
        (
            "find two pen and put them in desk.",
            ParsedTask(TaskType.TWO, "pen", "desk"),
            "For desk",
        ),
        (
            "examine the pen with the desklamp.",
            ParsedTask(TaskType.LOOK, "pen", "desklamp"),
            "For desklamp",
        ),
    ],
)
def test_both_wordings_of_each_family_are_understood(text: str, task: ParsedTask, words: str) -> None:
    assert read_task(f"You see a desk 1.\nYour task is to: {text}") == task
    assert purpose(task) == words


def test_a_text_without_a_household_task_is_rejected_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="no household task is stated"):
        read_task("Your task is to: buy a red hat.")


def test_both_policies_are_found_by_name() -> None:
    assert {"household-expert", "household-random"} <= set(policy_names())
