"""Each household rule detects its mistake and no other."""

from __future__ import annotations

import pytest

from rollout.environments.hints import hint_rules
from rollout.environments.household import hint_rules as rules
from rollout.environments.household.hint_rules import HINTS, HouseholdEpisode, read_episode
from rollout.hints.rules import has_failed, no_action, repeated_without_effect
from rollout.trajectory import StopReason
from rollout.trajectory.turns import completed_turns
from tests.rollout.hints.episodes import ROOM, episode

Turn = tuple[str | None, str]
NOTHING = "Nothing happens."
TO_SHELF: Turn = ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a mug 2, and a pen 1.")
TO_CABINET: Turn = ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed.")
TO_COUNTER: Turn = ("go to countertop 1", "You arrive at countertop 1. On the countertop 1, you see nothing.")
TO_SINK: Turn = ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see a mug 1.")
TAKE_MUG: Turn = ("take mug 2 from shelf 1", "You pick up the mug 2 from the shelf 1.")
TAKE_PEN: Turn = ("take pen 1 from shelf 1", "You pick up the pen 1 from the shelf 1.")
HEAT: Turn = ("heat mug 2 with microwave 1", "You heat the mug 2 using the microwave 1.")
PUT: Turn = ("move mug 2 to countertop 1", "You move the mug 2 to the countertop 1.")
PUT_OLD: Turn = ("put mug 2 in/on countertop 1", "You put the mug 2 in/on the countertop 1.")
OPEN_CABINET: Turn = ("open cabinet 1", "You open the cabinet 1. The cabinet 1 is open. In it, you see a pen 2.")
MUG_1: Turn = ("take mug 1 from shelf 1", NOTHING)
MUG_2: Turn = ("take mug 2 from shelf 1", NOTHING)
FROM_CABINET: Turn = ("take mug 1 from cabinet 1", NOTHING)
HEAT_IN_VAIN: Turn = ("heat mug 2 with microwave 1", NOTHING)
HEAT_ON_SHELF: Turn = ("heat mug 2 with shelf 1", NOTHING)
BRING: tuple[Turn, ...] = (TO_SHELF, TAKE_MUG, TO_COUNTER, PUT)
PLACE, HOT = "put a mug in countertop", "put a hot mug in countertop"
ON_SHELF, TWO, LAMP = "put a mug in shelf", "put two mug in countertop", "look at mug under the desklamp"


def refused(action: str) -> Turn:
    return action, NOTHING


def house(instruction: str, *turns: Turn) -> HouseholdEpisode:
    return read_episode(episode(ROOM, instruction, *turns))


@pytest.mark.parametrize(
    ("rule", "made", "not_made"),
    [
        ("not_taken", (PLACE, TO_SHELF), (PLACE, TO_SHELF, TAKE_MUG)),
        ("not_taken", (PLACE, TO_SHELF, TAKE_PEN), (PLACE, TO_COUNTER)),
        ("not_changed", (HOT, *BRING), (HOT, TO_SHELF, TAKE_MUG, HEAT)),
        ("not_changed", (HOT, TO_SHELF, TAKE_MUG, HEAT_ON_SHELF), (PLACE, TO_SHELF, TAKE_MUG)),
        (
            "lamp_not_used",
            (LAMP, TO_SHELF, TAKE_MUG),
            (LAMP, TO_SHELF, TAKE_MUG, ("use desklamp 1", "It shines.")),
        ),
        ("not_delivered", (HOT, TO_SHELF, TAKE_MUG, HEAT), (HOT, TO_SHELF, TAKE_MUG, HEAT, TO_COUNTER, PUT)),
        ("not_delivered", (PLACE, TO_SHELF, TAKE_MUG), (PLACE, TO_SHELF, TAKE_MUG, TO_COUNTER, PUT_OLD)),
        ("wrong_receptacle", (ON_SHELF, *BRING), (PLACE, *BRING)),
        ("put_unchanged", (HOT, *BRING), (HOT, TO_SHELF, TAKE_MUG, HEAT, TO_COUNTER, PUT)),
        ("one_of_two", (TWO, *BRING), (PLACE, *BRING)),
        ("took_wrong_object", (PLACE, TO_SHELF, TAKE_PEN), (PLACE, TO_SHELF, TAKE_MUG)),
        (
            "closed_receptacle",
            (PLACE, TO_CABINET, FROM_CABINET),
            (PLACE, TO_CABINET, OPEN_CABINET, FROM_CABINET),
        ),
        ("not_there", (PLACE, TO_SHELF, MUG_1), (PLACE, TO_SHELF, TAKE_MUG)),
        ("not_there", (PLACE, TO_SHELF, MUG_1), (PLACE, TO_CABINET, FROM_CABINET)),
        ("not_at_place", (PLACE, MUG_2), (PLACE, TO_SHELF, MUG_1)),
        ("already_holding", (PLACE, TO_SHELF, TAKE_PEN, MUG_2), (PLACE, TO_SHELF, MUG_1)),
        ("not_holding", (HOT, HEAT_IN_VAIN), (HOT, TO_SHELF, TAKE_MUG, HEAT_IN_VAIN)),
        ("wrong_tool", (HOT, HEAT_ON_SHELF), (HOT, HEAT_IN_VAIN)),
        ("not_visited", (PLACE, TO_COUNTER), (PLACE, TO_COUNTER, TO_SHELF)),
    ],
)
def test_a_rule_finds_its_mistake_and_no_other(rule: str, made: tuple[str, Turn], not_made: tuple[str, Turn]) -> None:
    assert len(list(HINTS[rule](house(*made)))) == 1
    assert list(HINTS[rule](house(*not_made))) == []


def test_hints_name_what_changes_the_thing_and_which_places_were_left_out() -> None:
    assert list(HINTS["not_changed"](house(HOT, TO_SHELF, TAKE_MUG))) == [
        "Before you put the {object} down, go to the microwave and heat it there."
    ]
    assert list(HINTS["not_visited"](house(PLACE, TO_COUNTER, TO_CABINET))) == [
        "Search every place once before you return to one: also the fridge, the microwave, the shelf."
    ]


def test_a_place_counts_as_seen_with_the_thing_unless_the_agent_put_it_there() -> None:
    played = house(PLACE, TO_SINK, TO_SHELF, TAKE_MUG, TO_COUNTER, PUT, TO_COUNTER)
    assert list(rules.seen(played)) == ["sinkbasin", "shelf"]


def test_names_of_the_house_become_placeholders_and_what_changes_things_keeps_its_kind() -> None:
    names = rules.names_of(house(PLACE, TO_SHELF))
    wanted = {"mug": "{object}", "pen 1": "{object}", "cabinet 1": "{container}", "shelf 1": "{location}"}
    assert wanted.items() <= names.items()
    assert (names["microwave 1"], names["countertop"]) == ("microwave", "{location}")


def test_a_repeated_action_without_effect_and_a_turn_without_action_are_found_in_any_environment() -> None:
    def turns(*played: Turn) -> list[str]:
        read = completed_turns(episode(ROOM, PLACE, *played))
        return [text.split()[0] for rule in (repeated_without_effect, no_action) for text in rule(read)]

    assert turns(refused("open shelf 1"), TO_SHELF, refused("open shelf 1")) == ["Do"]
    assert turns(("look", "You look."), ("look", "You look.")) == ["Do"]
    assert turns(("look", "You look."), TO_SHELF, ("look", "You look.")) == []
    assert turns((None, NOTHING)) == ["End"]


def test_a_failed_episode_gives_its_worst_mistakes_first_up_to_a_number_each_once() -> None:
    played = episode(ROOM, HOT, refused("open shelf 1"), refused("open shelf 1"), TO_SHELF, TAKE_PEN)
    texts = [hint.text for hint in hint_rules("alfworld").write(played, 2, 120)]
    assert texts == ["Take the {object} as soon as you see it.", "Take nothing but the {object} that the task names."]
    hint = hint_rules("household").write(played, 4, 120)[2]
    assert (hint.category, hint.source, hint.made_from) == ("pick_and_place_simple", "household", ("task 1",))
    assert [len(h.text) <= 45 for h in hint_rules("household").write(played, 4, 45)] == [True]


def test_an_episode_of_another_environment_gives_no_hints_and_an_unknown_environment_has_the_general_rules() -> None:
    assert hint_rules("household").write(episode("A maze.", "leave it", (None, NOTHING)), 4, 120) == ()
    general = hint_rules("maze").write(episode("A maze.", "leave it", (None, NOTHING)), 4, 120)
    assert [hint.text.split()[0] for hint in general] == ["End"]


def test_only_failures_of_the_agent_count_as_failed() -> None:
    stops = [stop for stop in StopReason if has_failed(episode(ROOM, PLACE, stop=stop))]
    assert stops == [StopReason.FAILURE, StopReason.STEP_LIMIT, StopReason.TOKEN_LIMIT]
