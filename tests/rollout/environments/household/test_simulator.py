"""The rules of the household, on one small hand-written house."""

from __future__ import annotations

import random

import pytest

from rollout.environments.household.game import Game, Goal, Receptacle, TaskType, Thing
from rollout.environments.household.simulator import Simulator

PLACE = Goal(TaskType.PLACE, "apple", "fridge")


def house(goal: Goal = PLACE) -> Game:
    """A kitchen; both shelves are reached from one spot, and the pan lies on two burners."""
    food = {"cleanable": True, "heatable": True, "coolable": True, "sliceable": True, "location": "loc counter"}
    return Game(
        receptacles=(
            Receptacle("countertop 1", "countertop", "loc counter"),
            Receptacle("fridge 1", "fridge", "loc fridge", openable=True),
            Receptacle("microwave 1", "microwave", "loc microwave", openable=True),
            Receptacle("shelf 2", "shelf", "loc shelf"),
            Receptacle("shelf 1", "shelf", "loc shelf"),
            Receptacle("sinkbasin 1", "sinkbasin", "loc sink"),
            Receptacle("stoveburner 2", "stoveburner", "loc stove 2"),
            Receptacle("stoveburner 1", "stoveburner", "loc stove 1"),
        ),
        things=(
            Thing("apple 2", "apple", "countertop 1", **food),
            Thing("apple 1", "apple", "countertop 1", **food),
            Thing("bowl 1", "bowl", "fridge 1", cleanable=True, heatable=True, coolable=True, container=True),
            Thing("desklamp 1", "desklamp", "shelf 1", pickupable=False, toggleable=True),
            Thing("knife 1", "knife", "countertop 1", location="loc counter", cleanable=True),
            Thing("pan 1", "pan", "stoveburner 2", also_in=("stoveburner 1",)),
        ),
        goal=goal,
        instruction="put some apple on fridge",
        start_location="loc door",
        can_contain={
            "fridge": frozenset({"apple", "bowl"}),
            "shelf": frozenset({"apple", "bowl", "knife"}),
            "countertop": frozenset({"apple", "knife", "pan", "bowl"}),
        },
    )


def play(sim: Simulator, *commands: str) -> str:
    """Do the commands, all of which must be admissible, and return the last answer."""
    observation = ""
    for command in commands:
        reply = sim.step(command)
        assert reply.admissible, (command, reply)
        observation = reply.observation
    return observation


def refuses(sim: Simulator, command: str) -> bool:
    """The command is answered with ``Nothing happens.`` and changes nothing."""
    before = sim.admissible()
    reply = sim.step(command)
    return reply.observation == "Nothing happens." and not reply.admissible and sim.admissible() == before


def test_the_agent_first_sees_all_receptacles_in_order_with_the_article_a() -> None:
    assert Simulator(house()).intro() == (
        "You are in the middle of a room. Looking quickly around you, you see a countertop 1, a fridge 1, "
        "a microwave 1, a shelf 2, a shelf 1, a sinkbasin 1, a stoveburner 2, and a stoveburner 1."
    )


def test_look_names_the_receptacles_in_front_of_the_agent_and_nothing_before_the_first_move() -> None:
    sim = Simulator(house())
    assert play(sim, "look") == "You are in the middle of a room. Looking quickly around you, you see nothing."
    assert play(sim, "go to shelf 1", "look") == "You are facing the shelf 2, and shelf 1. Next to it, you see nothing."


def test_going_somewhere_describes_only_the_receptacle_that_was_named() -> None:
    assert play(Simulator(house()), "go to shelf 1") == "You arrive at shelf 1. On the shelf 1, you see a desklamp 1."
    assert play(Simulator(house()), "go to shelf 2") == "You arrive at shelf 2. On the shelf 2, you see nothing."


def test_the_agent_cannot_go_to_a_receptacle_at_its_own_location() -> None:
    sim = Simulator(house())
    play(sim, "go to shelf 1")
    assert refuses(sim, "go to shelf 1")
    assert refuses(sim, "go to shelf 2")


def test_two_objects_are_joined_with_a_comma_before_and() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take knife 1 from countertop 1")
    assert play(sim, "examine countertop 1") == "On the countertop 1, you see a apple 2, and a apple 1."


def test_a_closed_door_hides_the_contents_and_blocks_taking_and_storing() -> None:
    sim = Simulator(house())
    assert play(sim, "go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert refuses(sim, "take bowl 1 from fridge 1")
    opened = "You open the fridge 1. The fridge 1 is open. In it, you see a bowl 1."
    assert play(sim, "open fridge 1") == opened
    assert refuses(sim, "open fridge 1")
    assert play(sim, "take bowl 1 from fridge 1") == "You pick up the bowl 1 from the fridge 1."
    assert play(sim, "close fridge 1") == "You close the fridge 1."
    assert refuses(sim, "close fridge 1")
    assert refuses(sim, "move bowl 1 to fridge 1")


def test_only_one_object_fits_in_the_hands() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(sim, "inventory") == "You are carrying: a apple 1."
    assert refuses(sim, "take apple 2 from countertop 1")


def test_an_object_can_be_taken_only_from_where_it_is_and_if_it_can_be_picked_up() -> None:
    sim = Simulator(house())
    play(sim, "go to shelf 1")
    assert refuses(sim, "take desklamp 1 from shelf 1")
    assert refuses(sim, "take apple 1 from shelf 1")
    assert refuses(sim, "take apple 1 from countertop 1")


def test_a_receptacle_accepts_only_the_types_that_it_can_contain() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to sinkbasin 1")
    assert refuses(sim, "move apple 1 to sinkbasin 1")
    assert play(sim, "go to shelf 2", "move apple 1 to shelf 2") == "You move the apple 1 to the shelf 2."
    assert play(sim, "examine shelf 2") == "On the shelf 2, you see a apple 1."


def test_what_is_put_back_is_listed_in_the_house_s_order_and_not_at_the_end() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take apple 2 from countertop 1", "move apple 2 to countertop 1")
    assert play(sim, "examine countertop 1") == ("On the countertop 1, you see a apple 2, a apple 1, and a knife 1.")


def test_an_object_that_lies_in_two_receptacles_leaves_only_the_one_it_is_taken_from() -> None:
    sim = Simulator(house())
    play(sim, "go to stoveburner 1", "take pan 1 from stoveburner 1")
    assert play(sim, "examine stoveburner 1") == "On the stoveburner 1, you see nothing."
    assert play(sim, "go to stoveburner 2") == "You arrive at stoveburner 2. On the stoveburner 2, you see a pan 1."


def test_heating_and_cooling_undo_each_other_cleaning_lasts_and_doors_do_not_matter() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to microwave 1")
    assert play(sim, "heat apple 1 with microwave 1") == "You heat the apple 1 using the microwave 1."
    assert play(sim, "examine apple 1") == "This is a hot apple 1."
    assert play(sim, "go to fridge 1", "cool apple 1 with fridge 1") == "You cool the apple 1 using the fridge 1."
    assert play(sim, "examine apple 1") == "This is a cold apple 1."
    assert play(sim, "go to sinkbasin 1", "clean apple 1 with sinkbasin 1") == (
        "You clean the apple 1 using the sinkbasin 1."
    )
    assert play(sim, "examine apple 1") == "This is a cool and clean apple 1."
    assert play(sim, "go to microwave 1", "heat apple 1 with microwave 1", "examine apple 1") == (
        "This is a hot and clean apple 1."
    )


def test_treating_needs_the_right_appliance_and_a_suitable_object_in_hand() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take knife 1 from countertop 1", "go to microwave 1")
    assert refuses(sim, "heat knife 1 with microwave 1")
    assert refuses(sim, "clean knife 1 with microwave 1")
    assert refuses(sim, "heat apple 1 with microwave 1")


def test_slicing_needs_a_knife_in_hand_and_the_object_at_this_location() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1")
    assert refuses(sim, "slice apple 1 with knife 1")
    play(sim, "take knife 1 from countertop 1")
    assert play(sim, "slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."
    play(sim, "move knife 1 to countertop 1", "take apple 1 from countertop 1")
    assert play(sim, "examine apple 1") == "This is a sliced apple 1."
    play(sim, "go to shelf 1", "move apple 1 to shelf 1", "go to countertop 1", "take knife 1 from countertop 1")
    assert refuses(sim, "slice apple 1 with knife 1")
    play(sim, "go to shelf 1", "slice apple 1 with knife 1")


def test_a_lamp_is_only_ever_turned_on_and_only_near_it() -> None:
    sim = Simulator(house())
    assert refuses(sim, "use desklamp 1")
    play(sim, "go to shelf 2")
    assert play(sim, "use desklamp 1", "use desklamp 1") == "You turn on the desklamp 1."


def test_only_the_held_object_can_be_examined() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1")
    assert refuses(sim, "examine knife 1")
    assert play(sim, "take knife 1 from countertop 1", "examine knife 1") == "There's nothing special about knife 1."
    play(sim, "move knife 1 to countertop 1", "go to fridge 1", "open fridge 1", "take bowl 1 from fridge 1")
    assert play(sim, "examine bowl 1") == "This is a normal bowl 1. In it, you see nothing."


@pytest.mark.parametrize(
    "command", ["", "  ", "fly", "go to", "go  to shelf 1", "Go to shelf 1", "go to shelf 1.", "look around"]
)
def test_anything_but_an_exact_command_does_nothing(command: str) -> None:
    assert refuses(Simulator(house()), command)


def test_outer_white_space_is_ignored() -> None:
    assert play(Simulator(house()), " go to shelf 2\n") == "You arrive at shelf 2. On the shelf 2, you see nothing."


def test_help_lists_the_commands_of_the_dialect_in_use() -> None:
    assert "  move (object) to (receptacle):" in play(Simulator(house()), "help")
    assert "  put (object) in/on (receptacle):" in play(Simulator(house(), wording="put"), "help")


@pytest.mark.parametrize(
    "command", ["put apple 1 in/on fridge 1", "put apple 1 in fridge 1", "put apple 1 on fridge 1"]
)
def test_both_dialects_are_understood_and_told_apart(command: str) -> None:
    sim = Simulator(house())
    approach = ("go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1", "open fridge 1")
    play(sim, *approach)
    assert sim.step(command) == ("You move the apple 1 to the fridge 1.", True, "put")
    papers = Simulator(house(), wording="put")
    play(papers, *approach)
    assert "put apple 1 in/on fridge 1" in papers.admissible()
    assert papers.step("move apple 1 to fridge 1") == ("You put the apple 1 in/on the fridge 1.", True, "move")


def test_a_strict_simulator_accepts_its_own_dialect_only() -> None:
    sim = Simulator(house(), strict=True)
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1", "open fridge 1")
    assert refuses(sim, "put apple 1 in/on fridge 1")
    play(sim, "move apple 1 to fridge 1")


def test_placing_any_object_of_the_type_wins() -> None:
    sim = Simulator(house())
    play(sim, "go to countertop 1", "take apple 2 from countertop 1", "go to fridge 1", "open fridge 1")
    assert not sim.won
    play(sim, "move apple 2 to fridge 1")
    assert sim.won


@pytest.mark.parametrize(
    ("task_type", "place", "treatment"),
    [
        (TaskType.CLEAN, "sinkbasin 1", "clean apple 1 with sinkbasin 1"),
        (TaskType.HEAT, "microwave 1", "heat apple 1 with microwave 1"),
        (TaskType.COOL, "fridge 1", "cool apple 1 with fridge 1"),
    ],
)
def test_a_treated_object_must_be_in_that_state_when_it_is_placed(
    task_type: TaskType, place: str, treatment: str
) -> None:
    sim = Simulator(house(Goal(task_type, "apple", "shelf")))
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 1", "move apple 1 to shelf 1")
    assert not sim.won
    play(sim, "take apple 1 from shelf 1", f"go to {place}", treatment, "go to shelf 1", "move apple 1 to shelf 1")
    assert sim.won


def test_two_objects_must_be_in_the_same_receptacle() -> None:
    sim = Simulator(house(Goal(TaskType.TWO, "apple", "shelf")))
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 1", "move apple 1 to shelf 1")
    play(sim, "go to countertop 1", "take apple 2 from countertop 1", "go to shelf 1", "move apple 2 to shelf 2")
    assert not sim.won
    play(sim, "take apple 2 from shelf 2", "move apple 2 to shelf 1")
    assert sim.won


def test_look_at_obj_in_light_needs_the_held_object_beside_a_lamp_that_was_turned_on() -> None:
    sim = Simulator(house(Goal(TaskType.LOOK, "apple", None, lamp_type="desklamp")))
    play(sim, "go to shelf 1", "use desklamp 1", "go to countertop 1", "take apple 1 from countertop 1")
    assert not sim.won
    play(sim, "go to shelf 2")
    assert sim.won


def test_a_goal_may_ask_for_a_sliced_object() -> None:
    sim = Simulator(house(Goal(TaskType.PLACE, "apple", "shelf", sliced=True)))
    play(sim, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 1", "move apple 1 to shelf 1")
    assert not sim.won
    play(sim, "go to countertop 1", "take knife 1 from countertop 1", "go to shelf 1", "slice apple 1 with knife 1")
    assert sim.won


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wording", ["move", "put"])
def test_a_command_is_listed_exactly_if_it_does_something(seed: int, wording: str) -> None:
    """Checked against all commands that can be formed, along a random walk."""
    game, rng = house(), random.Random(seed)
    places, things = [r.name for r in game.receptacles], [t.name for t in game.things]
    candidates = ["help", "inventory", "look"]
    candidates += [f"{verb} {place}" for verb in ("go to", "open", "close", "examine") for place in places]
    candidates += [f"{verb} {thing}" for verb in ("use", "examine") for thing in things]
    candidates += [f"slice {thing} with {other}" for thing in things for other in things]
    store = "put {} in/on {}" if wording == "put" else "move {} to {}"
    for form in ("take {} from {}", store, "clean {} with {}", "heat {} with {}", "cool {} with {}"):
        candidates += [form.format(thing, place) for thing in things for place in places]
    history: list[str] = []
    for _ in range(25):
        sim, allowed = simulator_after(game, wording, history), []
        listed = sim.admissible()
        for command in candidates:
            if sim.step(command).admissible:
                allowed.append(command)
                sim = simulator_after(game, wording, history)
        assert listed == sorted(allowed)
        history.append(rng.choice(listed))


def simulator_after(game: Game, wording: str, history: list[str]) -> Simulator:
    """A new simulator after the commands in ``history``."""
    sim = Simulator(game, wording="put" if wording == "put" else "move")
    for command in history:
        sim.step(command)
    return sim
