"""The reader of official game files, on small hand-written files in the same format."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.environments.household.game import Goal, Receptacle, TaskType
from rollout.environments.household.pddl import parse_game, read_game

INIT = """
(receptacleType Shelf_bar_A ShelfType) (receptacleAtLocation Shelf_bar_A loc_1)
(receptacleType Shelf_bar_B ShelfType) (receptacleAtLocation Shelf_bar_B loc_2) (openable Shelf_bar_B)
(receptacleType Sink_bar_A_bar_SinkBasin SinkBasinType) (receptacleAtLocation Sink_bar_A_bar_SinkBasin loc_3)
(objectType CD_bar_A CDType) (objectAtLocation CD_bar_A loc_1) (inReceptacle CD_bar_A Shelf_bar_A)
(inReceptacle CD_bar_A Shelf_bar_B) (pickupable CD_bar_A) (isCool CD_bar_A) (isReceptacleObject CD_bar_A)
(objectType CellPhone_bar_A CellPhoneType) (objectType Candle_bar_A CandleType)
(canContain ShelfType CDType) (canContain ShelfType CandleType) (atLocation agent1 loc_0)
(= (total-cost) 0)
"""
GOAL = "(and (exists (?r - receptacle) (exists (?o - object) (and {}))))"
PLACE_GOAL = GOAL.format("(inReceptacle ?o ?r) (objectType ?o CDType) (receptacleType ?r ShelfType)")
TWO_GOAL = """(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 CDType)
(receptacleType ?r ShelfType) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2))
(objectType ?o2 CDType) (receptacleType ?r ShelfType) (inReceptacle ?o2 ?r)))))))"""
LOOK_GOAL = """(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)
(toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
(exists (?o - object ?a - agent) (and (objectType ?o CDType) (holds ?a ?o))))"""


def game_text(goal: str = PLACE_GOAL, init: str = INIT, **changes: object) -> str:
    """The text of a game file."""
    fields: dict[str, object] = {
        "pddl_domain": "",
        "grammar": 'grammar :: """{"task": [{"rhs": "Your task is to: put some cd on shelf."}]}"""',
        "pddl_problem": f"(define (problem p) (:domain alfred) (:objects) (:init {init}) (:goal {goal}))",
        "solvable": True,
    }
    return json.dumps({**fields, **changes})


def test_the_first_id_of_a_type_gets_the_highest_number_and_basins_are_named_so() -> None:
    assert parse_game(game_text()).receptacles == (
        Receptacle("shelf 2", "shelf", "loc_1"),
        Receptacle("shelf 1", "shelf", "loc_2", openable=True),
        Receptacle("sinkbasin 1", "sinkbasin", "loc_3"),
    )


def test_things_are_listed_in_the_order_of_their_ids_ignoring_case() -> None:
    assert [thing.name for thing in parse_game(game_text()).things] == ["candle 1", "cd 1", "cellphone 1"]


def test_numbers_within_a_type_ignore_the_case_of_ids_too() -> None:
    more = "(objectType Pen_bar_b PenType) (objectType Pen_bar_C PenType) (isHot Pen_bar_b)"
    pens = [thing for thing in parse_game(game_text(init=INIT + more)).things if thing.type == "pen"]
    assert [(pen.name, pen.hot) for pen in pens] == [("pen 2", True), ("pen 1", False)]


def test_a_thing_carries_its_places_and_its_state() -> None:
    candle, cd, _ = parse_game(game_text()).things
    assert (cd.receptacle, cd.also_in, cd.location) == ("shelf 2", ("shelf 1",), "loc_1")
    assert (cd.pickupable, cd.cool, cd.container, cd.hot, cd.sliceable) == (True, True, True, False, False)
    assert (candle.receptacle, candle.location, candle.pickupable) == (None, None, False)


def test_the_task_the_start_and_what_fits_where_are_read() -> None:
    game = parse_game(game_text())
    assert (game.instruction, game.start_location) == ("put some cd on shelf", "loc_0")
    assert game.can_contain == {"shelf": frozenset({"cd", "candle"})}


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        (PLACE_GOAL, Goal(TaskType.PLACE, "cd", "shelf")),
        (TWO_GOAL, Goal(TaskType.TWO, "cd", "shelf")),
        (LOOK_GOAL, Goal(TaskType.LOOK, "cd", None, "desklamp")),
        *(
            (
                GOAL.format(
                    f"({ability} ?o) (objectType ?o CDType) (receptacleType ?r ShelfType) "
                    f"({state} ?o) (inReceptacle ?o ?r)"
                ),
                Goal(task_type, "cd", "shelf"),
            )
            for ability, state, task_type in [
                ("cleanable", "isClean", TaskType.CLEAN),
                ("heatable", "isHot", TaskType.HEAT),
                ("coolable", "isCool", TaskType.COOL),
            ]
        ),
        (
            GOAL.format("(inReceptacle ?o ?r) (objectType ?o CDType) (receptacleType ?r ShelfType) (isSliced ?o)"),
            Goal(TaskType.PLACE, "cd", "shelf", sliced=True),
        ),
    ],
)
def test_each_task_type_is_recognized(text: str, goal: Goal) -> None:
    assert parse_game(game_text(text)).goal == goal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "damaged or cut short"),
        (game_text()[:400], "damaged or cut short"),
        ("[]", "no pddl_problem"),
        (game_text(pddl_problem=7), "no pddl_problem"),
        (game_text(pddl_problem="(define (:init (a b"), "PDDL problem is cut short"),
        (game_text(pddl_problem="(define))"), "unmatched closing bracket"),
        (game_text(pddl_problem="(define (problem p))"), "no :init"),
        (game_text(goal="(and)"), "goal is of an unknown kind"),
        (game_text(goal=LOOK_GOAL.replace("isToggled ?ot", "isToggled ?x")), "goal is of an unknown kind"),
        (game_text(grammar="nothing"), "states no task"),
        (game_text(init=INIT.replace("(atLocation agent1 loc_0)", "")), "no starting location"),
        (game_text(init=INIT.replace("(receptacleAtLocation Shelf_bar_B loc_2)", "")), "Shelf_bar_B has no location"),
        (game_text(init=INIT + "(inReceptacle CD_bar_A CD_bar_A)"), "which does not exist"),
        (game_text(init=INIT + "(objectType CD_bar_A)"), "1 arguments instead of 2"),
        (game_text(goal="(" * 10_000 + ")" * 10_000), "recursion"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence_that_names_it(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "game.tw-pddl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as caught:
        read_game(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_binary_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.tw-pddl"):
        read_game(tmp_path / "missing.tw-pddl")
    (tmp_path / "game.tw-pddl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"game\.tw-pddl"):
        read_game(tmp_path / "game.tw-pddl")


@given(st.data())
def test_a_game_with_any_part_removed_is_read_or_rejected(data: st.DataObject) -> None:
    problem = str(json.loads(game_text())["pddl_problem"])
    start = data.draw(st.integers(0, len(problem)))
    end = data.draw(st.integers(start, len(problem)))
    with suppress(ValueError):
        assert parse_game(game_text(pddl_problem=problem[:start] + problem[end:])).goal.object_type
