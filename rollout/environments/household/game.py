"""A household game as plain data: what is where, what can be done with it, and what the goal is.

Both the reader of official ``game.tw-pddl`` files and the generator of new houses make a `Game`; the world plays it.
Type names are ALFWorld's lower-case nouns (``apple``, ``sinkbasin``); names carry a number (``apple 2``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class TaskType(StrEnum):
    """ALFWorld's six families of tasks, by their official names."""

    PLACE = "pick_and_place_simple"
    LOOK = "look_at_obj_in_light"
    CLEAN = "pick_clean_then_place_in_recep"
    HEAT = "pick_heat_then_place_in_recep"
    COOL = "pick_cool_then_place_in_recep"
    TWO = "pick_two_obj_and_place"


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place that holds objects. ``location`` is where the agent stands to reach it; several may share one."""

    name: str
    type: str
    location: str
    openable: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """An object. ``receptacle`` is the name of the place it starts in, None if in none."""

    name: str
    type: str
    receptacle: str | None
    location: str | None = None
    """Where it is in the house's own map; only slicing looks at it."""
    pickupable: bool = True
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    toggleable: bool = False
    sliceable: bool = False
    container: bool = False
    """It can itself hold things (a bowl), which changes only what ``examine`` says."""
    clean: bool = False
    hot: bool = False
    cool: bool = False
    sliced: bool = False
    also_in: tuple[str, ...] = ()
    """Further receptacles it starts in: official games put a few objects into several."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What must hold for the task to be won; tested on the whole state after every step."""

    task_type: TaskType
    object_type: str
    receptacle_type: str | None
    """Where it must go; None for ``look_at_obj_in_light``."""
    lamp_type: str | None = None
    sliced: bool = False
    """The object must be sliced as well (some official goals ask for it)."""


@dataclass(frozen=True, slots=True)
class Game:
    """A whole game. Receptacles and things stand in the order in which observations list them."""

    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    goal: Goal
    instruction: str
    """The task in words, without ``Your task is to: `` and the full stop."""
    start_location: str
    can_contain: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Receptacle type to the types of objects that may be put there."""
    walkthrough: tuple[str, ...] = ()
