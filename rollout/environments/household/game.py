"""A household game as plain data: receptacles, objects, their properties and the goal.

The reader of official ``game.tw-pddl`` files and the generator of houses create a `Game`; the simulator runs it.
Type names are ALFWorld's lower-case nouns (``apple``, ``sinkbasin``); names carry a number (``apple 2``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class TaskType(StrEnum):
    """ALFWorld's six task types by their official names."""

    PLACE = "pick_and_place_simple"
    LOOK = "look_at_obj_in_light"
    CLEAN = "pick_clean_then_place_in_recep"
    HEAT = "pick_heat_then_place_in_recep"
    COOL = "pick_cool_then_place_in_recep"
    TWO = "pick_two_obj_and_place"


VERBS = {TaskType.CLEAN: "clean", TaskType.HEAT: "heat", TaskType.COOL: "cool"}
"""The change that each task type requires before the object is put down."""
TOOLS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Change to the receptacle type where it is made."""


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place for objects. ``location`` is where the agent stands to reach it; several receptacles may share one."""

    name: str
    type: str
    location: str
    openable: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """An object. ``receptacle`` is the name of the place where it starts, or None."""

    name: str
    type: str
    receptacle: str | None
    location: str | None = None
    """Location in the map of the house; used by slicing only."""
    pickupable: bool = True
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    toggleable: bool = False
    sliceable: bool = False
    container: bool = False
    """Whether it can contain objects, as a bowl does; affects the answer to ``examine`` only."""
    clean: bool = False
    hot: bool = False
    cool: bool = False
    sliced: bool = False
    also_in: tuple[str, ...] = ()
    """Further receptacles where it starts: official games put a few objects into several."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The condition that wins the task; tested on the whole state after every step."""

    task_type: TaskType
    object_type: str
    receptacle_type: str | None
    """Type of the target receptacle; None for ``look_at_obj_in_light``."""
    lamp_type: str | None = None
    sliced: bool = False
    """Whether the object must also be sliced, as in some official goals."""


@dataclass(frozen=True, slots=True)
class Game:
    """A game. Receptacles and things are in the order in which observations list them."""

    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    goal: Goal
    instruction: str
    """The task in words, without ``Your task is to: `` and the full stop."""
    start_location: str
    can_contain: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Receptacle type to the types of objects that may be put there."""
