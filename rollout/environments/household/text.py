"""Sentences of the household, in the wording of ALFWorld 0.4 or, for storing an object, the older one of the papers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from rollout.environments.household.game import Thing

Dialect = Literal["move", "put"]
"""How an object is put down: ``move O to R`` (ALFWorld 0.4) or ``put O in/on R`` (the papers and older games)."""

NOTHING_HAPPENS = "Nothing happens."

_STORE_HELP = {
    "move": "  move (object) to (receptacle):  place an object in or on a receptacle",
    "put": "  put (object) in/on (receptacle): place an object in or on a receptacle",
}
_HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
{store}
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def help_text(wording: Dialect) -> str:
    """The list of commands."""
    return _HELP.format(store=_STORE_HELP[wording])


def listing(names: Iterable[str]) -> str:
    """``a X, a Y, and a Z``: the article is always ``a``; ``nothing`` for an empty list."""
    return _join([f"a {name}" for name in names]) or "nothing"


def facing(names: Sequence[str]) -> str:
    """The answer to ``look`` in front of these receptacles."""
    return f"You are facing the {_join(names)}. Next to it, you see nothing."


def middle_of_room(names: Iterable[str]) -> str:
    """The view of the whole room. After the start, ALFWorld's ``look`` names no receptacle here."""
    return f"You are in the middle of a room. Looking quickly around you, you see {listing(names)}."


def storing(thing: str, receptacle: str, wording: Dialect) -> str:
    """The command that puts ``thing`` down."""
    return f"put {thing} in/on {receptacle}" if wording == "put" else f"move {thing} to {receptacle}"


def stored(thing: str, receptacle: str, wording: Dialect) -> str:
    """The answer to `storing`."""
    return f"You {storing(f'the {thing}', f'the {receptacle}', wording)}."


def thing_description(thing: Thing, states: Collection[str], toggled: bool) -> str:
    """The answer to ``examine`` for an object in hand; ``states`` are some of clean, hot, cool and sliced."""
    if thing.container:
        return f"This is a normal {thing.name}. In it, you see nothing."
    temperature = "hot" if "hot" in states else "cool" if "cool" in states else ""
    sliced = "sliced" in states
    if "clean" in states:
        return _normal(f"{temperature} and clean" if temperature else "clean", sliced, thing)
    if temperature:
        return _normal("cold" if temperature == "cool" and not sliced else temperature, sliced, thing)
    if thing.toggleable:
        return f"This {thing.name} is {'on' if toggled else 'off'}."
    if thing.sliceable and sliced:
        return _normal("sliced", False, thing)
    return f"There's nothing special about {thing.name}."


def _normal(adjectives: str, sliced: bool, thing: Thing) -> str:
    return f"This is a {adjectives} {'sliced ' if sliced else ''}{thing.name}."


def _join(parts: Sequence[str]) -> str:
    return ", and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)
