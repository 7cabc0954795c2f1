"""Contents of generated houses: rooms, receptacles, objects and allowed placements.

The nouns are ALFWorld's; the rooms, counts and placements are defined here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})

Counts = Mapping[str, tuple[int, int]]
"""Receptacle type to the minimum and maximum number in a house."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room type. ``objects`` are the object types that may occur in it."""

    small: Counts
    full: Counts
    objects: list[str]


ROOMS: Mapping[str, Room] = {
    "kitchen": Room(
        small={
            "cabinet": (1, 2),
            "countertop": (1, 2),
            "diningtable": (0, 1),
            "drawer": (0, 1),
            "fridge": (1, 1),
            "garbagecan": (0, 1),
            "microwave": (1, 1),
            "shelf": (0, 1),
            "sinkbasin": (1, 1),
        },
        full={
            "cabinet": (3, 8),
            "coffeemachine": (1, 1),
            "countertop": (1, 3),
            "diningtable": (0, 2),
            "drawer": (2, 5),
            "fridge": (1, 1),
            "garbagecan": (1, 1),
            "microwave": (1, 1),
            "shelf": (0, 3),
            "sidetable": (0, 1),
            "sinkbasin": (1, 1),
            "stoveburner": (2, 4),
            "toaster": (1, 1),
        },
        objects=(
            "apple bread butterknife bowl cup dishsponge egg fork glassbottle kettle knife ladle lettuce mug pan "
            "peppershaker plate pot potato saltshaker soapbottle spatula spoon tomato vase winebottle"
        ).split(),
    ),
    "bedroom": Room(
        small={
            "bed": (1, 1),
            "desk": (1, 2),
            "drawer": (1, 3),
            "dresser": (0, 1),
            "garbagecan": (0, 1),
            "shelf": (0, 2),
            "sidetable": (0, 1),
        },
        full={
            "armchair": (0, 1),
            "bed": (1, 1),
            "desk": (1, 2),
            "drawer": (2, 7),
            "dresser": (0, 1),
            "garbagecan": (1, 1),
            "laundryhamper": (0, 1),
            "safe": (0, 1),
            "shelf": (0, 6),
            "sidetable": (0, 2),
        },
        objects=(
            "alarmclock basketball book box cd cellphone creditcard desklamp keychain laptop mug newspaper pen pencil "
            "pillow teddybear tissuebox vase watch"
        ).split(),
    ),
    "livingroom": Room(
        small={
            "armchair": (0, 1),
            "coffeetable": (1, 1),
            "diningtable": (0, 1),
            "drawer": (0, 2),
            "garbagecan": (0, 1),
            "shelf": (0, 1),
            "sidetable": (1, 2),
            "sofa": (1, 1),
        },
        full={
            "armchair": (1, 2),
            "cabinet": (0, 4),
            "coffeetable": (1, 2),
            "diningtable": (0, 1),
            "drawer": (0, 4),
            "dresser": (0, 1),
            "garbagecan": (1, 1),
            "ottoman": (0, 1),
            "safe": (0, 1),
            "shelf": (0, 5),
            "sidetable": (1, 3),
            "sofa": (1, 1),
            "tvstand": (0, 1),
        },
        objects=(
            "book box candle cellphone creditcard desklamp keychain laptop newspaper pen pillow plate remotecontrol "
            "statue tissuebox vase watch wateringcan"
        ).split(),
    ),
    "bathroom": Room(
        small={
            "bathtubbasin": (0, 1),
            "cabinet": (1, 2),
            "countertop": (1, 1),
            "drawer": (0, 1),
            "garbagecan": (0, 1),
            "shelf": (0, 1),
            "sinkbasin": (1, 1),
            "toilet": (1, 1),
        },
        full={
            "bathtubbasin": (0, 1),
            "cabinet": (2, 5),
            "countertop": (1, 1),
            "drawer": (0, 4),
            "garbagecan": (1, 1),
            "handtowelholder": (1, 2),
            "shelf": (0, 2),
            "sidetable": (0, 1),
            "sinkbasin": (1, 2),
            "toilet": (1, 1),
            "toiletpaperhanger": (1, 1),
            "towelholder": (1, 1),
        },
        objects=(
            "candle cloth dishsponge handtowel soapbar soapbottle spraybottle tissuebox toiletpaper towel scrubbrush"
        ).split(),
    ),
}

_TABLES = frozenset("bed coffeetable countertop desk diningtable dresser shelf sidetable tvstand".split())
_SEATS = frozenset("armchair bed ottoman sofa".split())
_BOXES = frozenset("cabinet drawer safe".split())
_BATH = frozenset("bathtubbasin cabinet countertop drawer garbagecan shelf sidetable sinkbasin toilet".split())
_BENCH = frozenset("cabinet countertop diningtable drawer shelf sidetable sinkbasin".split())
_COOKED = frozenset("countertop diningtable fridge garbagecan microwave sidetable sinkbasin shelf".split())
_VESSEL = frozenset(
    "cabinet coffeetable countertop desk diningtable fridge microwave shelf sidetable sinkbasin".split()
)


@dataclass(frozen=True, slots=True)
class Noun:
    """Properties of an object type: actions on it, and the receptacle types that may contain it."""

    places: frozenset[str]
    can: frozenset[str] = frozenset()
    """Subset of ``clean``, ``heat``, ``cool``, ``slice``, ``use`` and ``hold`` (it can contain objects)."""
    fixed: bool = False
    """Whether it cannot be picked up."""


def _noun(places: frozenset[str], can: str = "", fixed: bool = False) -> Noun:
    return Noun(places, frozenset(can.split()), fixed)


NOUNS: Mapping[str, Noun] = {
    "alarmclock": _noun(_TABLES - {"bed"}),
    "apple": _noun(_COOKED, "clean heat cool slice"),
    "basketball": _noun(_SEATS | {"desk", "shelf", "dresser"}),
    "book": _noun(_TABLES | _SEATS | {"drawer", "cabinet"}),
    "bowl": _noun(_VESSEL, "clean heat cool hold"),
    "box": _noun(_TABLES | _SEATS | {"cabinet"}, "hold"),
    "bread": _noun(_COOKED, "heat cool slice"),
    "butterknife": _noun(_BENCH, "clean"),
    "candle": _noun(_BATH | {"coffeetable", "dresser", "desk"}),
    "cd": _noun(_TABLES | {"drawer", "safe", "garbagecan"}),
    "cellphone": _noun(_TABLES | _SEATS | _BOXES),
    "cloth": _noun(_BATH | {"laundryhamper"}, "clean"),
    "creditcard": _noun(_TABLES | _SEATS | _BOXES),
    "cup": _noun(_VESSEL, "clean heat cool hold"),
    "desklamp": _noun(frozenset({"desk", "dresser", "shelf", "sidetable", "coffeetable", "diningtable"}), "use", True),
    "dishsponge": _noun(_BENCH | {"garbagecan", "toilet", "bathtubbasin"}, "clean"),
    "egg": _noun(_COOKED, "clean heat cool slice"),
    "fork": _noun(_BENCH, "clean"),
    "glassbottle": _noun(_BENCH | {"garbagecan", "fridge"}),
    "handtowel": _noun(frozenset({"handtowelholder", "countertop", "cabinet", "garbagecan", "bathtubbasin"})),
    "kettle": _noun(frozenset({"cabinet", "countertop", "diningtable", "shelf", "sinkbasin", "stoveburner"}), "clean"),
    "keychain": _noun(_TABLES | _SEATS | _BOXES),
    "knife": _noun(_BENCH, "clean"),
    "ladle": _noun(_BENCH, "clean"),
    "laptop": _noun((_TABLES | _SEATS) - {"shelf"}),
    "lettuce": _noun(_COOKED - {"microwave"}, "clean cool slice"),
    "mug": _noun(_VESSEL | {"coffeemachine"}, "clean heat cool hold"),
    "newspaper": _noun(_TABLES | _SEATS | {"drawer", "garbagecan"}),
    "pan": _noun(frozenset("cabinet countertop diningtable fridge sinkbasin stoveburner".split()), "clean cool hold"),
    "pen": _noun(_TABLES | {"drawer", "garbagecan"}),
    "pencil": _noun(_TABLES | {"drawer", "garbagecan"}),
    "peppershaker": _noun(_BENCH - {"sinkbasin"}),
    "pillow": _noun(_SEATS),
    "plate": _noun(_VESSEL, "clean heat cool hold"),
    "pot": _noun(frozenset("cabinet countertop diningtable fridge sinkbasin stoveburner".split()), "clean cool hold"),
    "potato": _noun(_COOKED, "clean heat cool slice"),
    "remotecontrol": _noun(_TABLES | _SEATS | {"drawer"}),
    "saltshaker": _noun(_BENCH - {"sinkbasin"}),
    "scrubbrush": _noun(_BATH - {"drawer"}),
    "soapbar": _noun(_BATH, "clean"),
    "soapbottle": _noun(_BATH | _BENCH),
    "spatula": _noun(_BENCH, "clean"),
    "spoon": _noun(_BENCH, "clean"),
    "spraybottle": _noun(_BATH - {"sinkbasin"}),
    "statue": _noun(_TABLES | {"cabinet"}),
    "teddybear": _noun(_SEATS | {"desk", "dresser"}),
    "tissuebox": _noun(_TABLES | {"cabinet", "drawer", "toilet", "garbagecan"}),
    "toiletpaper": _noun(_BATH | {"toiletpaperhanger"}),
    "tomato": _noun(_COOKED, "clean heat cool slice"),
    "towel": _noun(frozenset({"towelholder", "bathtubbasin", "cabinet", "countertop", "shelf"})),
    "vase": _noun(_TABLES | {"cabinet", "safe"}),
    "watch": _noun(_TABLES | _SEATS | _BOXES),
    "wateringcan": _noun(frozenset({"coffeetable", "diningtable", "sidetable", "drawer", "shelf", "tvstand"})),
    "winebottle": _noun(_BENCH | {"fridge", "garbagecan"}, "cool"),
}
