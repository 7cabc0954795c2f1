"""What failed household episodes teach, by rules that read no more than the agent could read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.environments.household.belief_state import (
    NOTHING_HAPPENS,
    VERBS,
    BeliefState,
    ParsedTask,
    kind_of,
    read_task,
)
from rollout.environments.household.catalogue import OPENABLE
from rollout.environments.household.game import TaskType
from rollout.hints.rules import RuleBook, no_action, repeated_without_effect
from rollout.trajectory import Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation

TOOLS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Where each change is made."""
_COMMAND = re.compile(
    r"(?P<verb>take|move|put|clean|heat|cool) (?P<thing>[a-z]+ \d+) (?:from|to|in/on|in|on|with) (?P<place>[a-z]+ \d+)"
)
_NAMED = 3
"""Kinds of places that one hint names."""


@dataclass(frozen=True, slots=True)
class Deed:
    """An action on a thing at a place, and what the agent knew before it.

    Attributes:
        verb: ``take``, ``put`` (also for ``move``), ``clean``, ``heat`` or ``cool``.
        refused: nothing happened.
        at: where the agent stood; None in the middle of the room.
        holding: what it had.
        shut: the place was closed.
        there: what it had seen in the place; None if it had not looked.
        changed: what had last been done to the thing (``heat``); "" if nothing.
    """

    verb: str
    thing: str
    place: str
    refused: bool
    at: str | None
    holding: str | None
    shut: bool
    there: tuple[str, ...] | None
    changed: str


@dataclass(slots=True)
class House:
    """A household episode as its agent could know it.

    Attributes:
        wish: the task.
        turns: of the episode.
        places: all of the house.
        visited: those where the agent has been.
        deeds: its actions on things.
        used: things that were turned on.
        seen_in: places in which a wanted thing was, without those where the agent had put it.
        names: of all things that were seen.
    """

    wish: ParsedTask
    turns: list[CompletedTurn]
    places: list[str]
    visited: set[str] = field(default_factory=set)
    deeds: list[Deed] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    seen_in: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def wanted(self, thing: str) -> bool:
        return kind_of(thing) == self.wish.object_type

    def done(self, verb: str) -> list[Deed]:
        """The deeds of this kind that worked, on wanted things."""
        return [deed for deed in self.deeds if deed.verb == verb and not deed.refused and self.wanted(deed.thing)]

    def refused(self, *verbs: str) -> list[Deed]:
        return [deed for deed in self.deeds if deed.verb in verbs and deed.refused]

    @property
    def change(self) -> str:
        """What must be done to the wanted thing before it is put down; "" if nothing."""
        return VERBS.get(self.wish.task_type, "")


def read_house(trajectory: Trajectory) -> House:
    """Follow an episode. Raises `ValueError` if it states no household task."""
    first, known, turns = initial_observation(trajectory), BeliefState(), completed_turns(trajectory)
    known.read_first(first)
    house = House(read_task(first), turns, list(known.places))
    for turn in turns:
        _follow(house, known, turn)
    return house


def _follow(house: House, known: BeliefState, turn: CompletedTurn) -> None:
    action, refused = turn.action or "", turn.observation.strip() == NOTHING_HAPPENS
    if deed := _deed(action, known, refused):
        house.deeds.append(deed)
    if not refused and action.startswith("use "):
        house.used.add(kind_of(action.removeprefix("use ")))
    known.read(turn.observation)
    if known.location is not None:
        house.visited.add(known.location)
    put_there = {deed.thing for deed in house.deeds if deed.verb == "put" and not deed.refused}
    for place, things in known.contents.items():
        house.names.update(things)
        if place not in house.seen_in and any(house.wanted(thing) and thing not in put_there for thing in things):
            house.seen_in.append(place)


def _deed(action: str, known: BeliefState, refused: bool) -> Deed | None:
    match = _COMMAND.fullmatch(action)
    if match is None:
        return None
    verb, thing, place = match["verb"], match["thing"], match["place"]
    there = known.contents.get(place)
    return Deed(
        verb="put" if verb == "move" else verb,
        thing=thing,
        place=place,
        refused=refused,
        at=known.location,
        holding=known.holding,
        shut=place in known.closed,
        there=None if there is None else tuple(there),
        changed=known.states.get(thing, ""),
    )


# Rules. Each looks for one mistake.


def left_it_lying(house: House) -> Iterator[str]:
    """The wanted thing was seen and never taken."""
    if house.seen_in and not house.done("take"):
        yield "Take the {object} as soon as you see it."


def never_changed(house: House) -> Iterator[str]:
    """It was taken and not cleaned, heated or cooled."""
    verb = house.change
    if verb and house.done("take") and not house.done(verb):
        yield f"Before you put the {{object}} down, go to the {TOOLS[verb]} and {verb} it there."


def never_lit(house: House) -> Iterator[str]:
    """A thing to be looked at was taken, and the lamp was not turned on."""
    if house.wish.task_type is TaskType.LOOK and house.done("take") and house.wish.target_type not in house.used:
        yield f"Hold the {{object}}, go to the {house.wish.target_type} and use it."


def never_brought(house: House) -> Iterator[str]:
    """It was had, as it should be, and never put down."""
    ready = house.done(house.change) if house.change else house.done("take")
    if house.wish.task_type is not TaskType.LOOK and ready and not house.done("put"):
        yield "When the {object} is ready, go to the {location} and put it there."


def put_elsewhere(house: House) -> Iterator[str]:
    """It was put somewhere else than the task says."""
    if house.wish.task_type is TaskType.LOOK:
        return
    if any(kind_of(deed.place) != house.wish.target_type for deed in house.done("put")):
        yield "Put the {object} only where the task wants it: in/on the {location}."


def put_unready(house: House) -> Iterator[str]:
    """It was put where it belongs, but not cleaned, heated or cooled before."""
    there = (deed for deed in house.done("put") if kind_of(deed.place) == house.wish.target_type)
    if house.change and any(deed.changed != house.change for deed in there):
        yield f"Do not put the {{object}} in/on the {{location}} before you {house.change} it."


def one_of_two(house: House) -> Iterator[str]:
    """Two things were wanted, one was brought."""
    there = {deed.thing for deed in house.done("put") if kind_of(deed.place) == house.wish.target_type}
    if house.wish.task_type is TaskType.TWO and len(there) == 1:
        yield "One {object} is not enough: look for the second one and bring it to the same {location}."


def took_something_else(house: House) -> Iterator[str]:
    """A thing was taken that the task does not name."""
    if any(deed.verb == "take" and not deed.refused and not house.wanted(deed.thing) for deed in house.deeds):
        yield "Take nothing but the {object} that the task names."


def closed_place(house: House) -> Iterator[str]:
    """Something was to be taken from a closed place, or put into it."""
    if any(deed.shut and deed.at == deed.place for deed in house.refused("take", "put")):
        yield "Open a closed {container} before you take from it or put into it."


def not_there(house: House) -> Iterator[str]:
    """A thing was to be taken where the agent had seen that it was not."""
    takes = (deed for deed in house.refused("take") if deed.at == deed.place and deed.there is not None)
    if any(deed.thing not in (deed.there or ()) for deed in takes):
        yield "Take only a thing that was listed at the place where you stand, with its number."


def too_far(house: House) -> Iterator[str]:
    """Something was to be done at a place before going there."""
    if any(deed.at != deed.place for deed in house.refused("take", "put", *TOOLS)):
        yield "Go to the place first, then take, put, clean, heat or cool there."


def hands_full(house: House) -> Iterator[str]:
    """A thing was to be taken with another one in hand."""
    if any(deed.holding for deed in house.refused("take")):
        yield "You can carry one thing: put down what you have before you take the {object}."


def empty_handed(house: House) -> Iterator[str]:
    """A thing was to be put down, cleaned, heated or cooled that was not in hand."""
    for verb in ("put", *TOOLS):
        if any(deed.holding != deed.thing for deed in house.refused(verb)):
            yield f"Take the {{object}} in your hand before you {verb} it."


def wrong_tool(house: House) -> Iterator[str]:
    """A thing was to be cleaned, heated or cooled with the wrong place."""
    for verb, tool in TOOLS.items():
        if any(kind_of(deed.place) != tool for deed in house.refused(verb)):
            yield f"To {verb} the {{object}}, use the {tool}."


def never_visited(house: House) -> Iterator[str]:
    """The wanted thing was not found, and some places were not looked at."""
    left = list(dict.fromkeys(kind_of(place) for place in house.places if place not in house.visited))
    if not house.seen_in and left:
        yield f"Search every place once before you return to one: also {_listed(left[:_NAMED])}."


def names_of(house: House) -> Mapping[str, str]:
    """Names of this house. The places that change things keep their kind: it says what they are good for."""
    names = dict.fromkeys(house.names, "{object}")
    for place in house.places:
        kind = kind_of(place)
        other = "{container}" if kind in OPENABLE else "{location}"
        names[place] = kind if kind in TOOLS.values() else other
    target = house.wish.target_type if house.wish.task_type is TaskType.LOOK else "{location}"
    return {**names, house.wish.target_type: target, house.wish.object_type: "{object}"}


def seen(house: House) -> Iterable[str]:
    """Kinds of places in which a wanted thing was."""
    return dict.fromkeys(kind_of(place) for place in house.seen_in)


def look_for(kinds: Sequence[str]) -> str:
    """Where to look first."""
    return f"Look for the {{object}} in/on {_listed(kinds[:_NAMED])}."


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(f"the {kind}" for kind in kinds)


RULES: RuleBook[House] = RuleBook(
    read=read_house,
    rules=(
        left_it_lying,
        never_changed,
        never_lit,
        never_brought,
        put_elsewhere,
        put_unready,
        one_of_two,
        never_visited,
        closed_place,
        empty_handed,
        wrong_tool,
        hands_full,
        too_far,
        not_there,
        took_something_else,
        lambda house: repeated_without_effect(house.turns),
        lambda house: no_action(house.turns),
    ),
    names=names_of,
    placeholders=("object", "container", "location"),
    seen=seen,
    look_for=look_for,
)
