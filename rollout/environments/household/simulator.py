"""The household simulator: ALFWorld's rules (engine 0.4) in plain Python.

A step checks its command against the state and does not build the list of admissible commands, so it takes
microseconds. The original's quirks are reproduced on purpose: only a held object can be examined, heating and cooling
ignore doors, a clean object stays clean, and a lamp cannot be turned off.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rollout.environments.household import text as words
from rollout.environments.household.game import Game, Receptacle, TaskType, Thing
from rollout.environments.household.text import Dialect

_STORE = re.compile(r"(?P<thing>.+) (?:in/on|in|on) (?P<receptacle>.+)")
_KNIVES = frozenset({"knife", "butterknife"})
_TREATED_AT = {
    "clean": frozenset({"sink", "sinkbasin"}),
    "heat": frozenset({"microwave"}),
    "cool": frozenset({"fridge"}),
}
_STATE_AFTER = {"clean": "clean", "heat": "hot", "cool": "cool"}
_GOAL_STATE = {TaskType.CLEAN: "clean", TaskType.HEAT: "hot", TaskType.COOL: "cool"}


class Reply(NamedTuple):
    """The answer to one command. ``dialect`` is set for commands that differ between dialects, else empty."""

    observation: str
    admissible: bool
    dialect: Dialect | None = None


class Simulator:
    """State and rules of one game.

    Args:
        game: initial state and goal.
        wording: the dialect of replies and of `admissible`.
        strict: accept only the ``wording`` dialect, as the original engine does; by default both are accepted.
    """

    def __init__(self, game: Game, wording: Dialect = "move", strict: bool = False) -> None:
        self.game = game
        self.won = False
        """Whether the goal was reached after any step so far."""
        self._wording: Dialect = wording
        self._strict = strict
        self._location = game.start_location
        self._held: int | None = None
        self._receptacles = {receptacle.name: receptacle for receptacle in game.receptacles}
        self._things = game.things
        self._index = {thing.name: i for i, thing in enumerate(game.things)}
        self._at: dict[str, list[Receptacle]] = defaultdict(list)
        for receptacle in game.receptacles:
            self._at[receptacle.location].append(receptacle)
        self._opened = {receptacle.name for receptacle in game.receptacles if receptacle.opened}
        self._contents: dict[str, list[int]] = {receptacle.name: [] for receptacle in game.receptacles}
        for i, thing in enumerate(game.things):
            for name in filter(None, (thing.receptacle, *thing.also_in)):
                self._contents[name].append(i)
        self._states = {
            state: {i for i, thing in enumerate(game.things) if getattr(thing, state)}
            for state in ("clean", "hot", "cool", "sliced")
        }
        self._toggled: set[int] = set()
        self._sliceable: dict[int, set[str | None]] = {
            i: {thing.location} for i, thing in enumerate(game.things) if thing.sliceable
        }
        self._rules: dict[str, Callable[[str], str | None]] = {
            "go": self._go,
            "take": self._take,
            "open": self._open,
            "close": self._close,
            "examine": self._examine,
            "use": self._use,
            "slice": self._slice,
            "move": lambda rest: self._store("move", rest),
            "put": lambda rest: self._store("put", rest),
            "clean": lambda rest: self._treat("clean", rest),
            "heat": lambda rest: self._treat("heat", rest),
            "cool": lambda rest: self._treat("cool", rest),
        }

    def copy(self) -> Simulator:
        """An independent copy of the current state."""
        other = Simulator(self.game, self._wording, self._strict)
        other.won, other._location, other._held = self.won, self._location, self._held
        other._opened, other._toggled = set(self._opened), set(self._toggled)
        other._contents = {name: list(contents) for name, contents in self._contents.items()}
        other._states = {state: set(members) for state, members in self._states.items()}
        other._sliceable = {i: set(places) for i, places in self._sliceable.items()}
        return other

    def intro(self) -> str:
        """The first observation, which lists all receptacles."""
        return words.middle_of_room(receptacle.name for receptacle in self.game.receptacles)

    def step(self, command: str) -> Reply:
        """Execute a command. Leading and trailing white space is ignored; an inadmissible command changes nothing."""
        verb, _, rest = command.strip().partition(" ")
        observation = self._rules[verb](rest) if verb in self._rules else self._report(command.strip())
        dialect: Dialect | None = "put" if verb == "put" else "move" if verb == "move" else None
        if observation is None:
            return Reply(words.NOTHING_HAPPENS, False, dialect)
        self.won = self.won or self._goal_holds()
        return Reply(observation, True, dialect)

    def admissible(self) -> list[str]:
        """All admissible commands, sorted, in the dialect of the replies."""
        return sorted(set(self._commands()))

    # Rules. Each receives the text after the verb and returns the answer, or None if the command is not admissible.

    def _report(self, command: str) -> str | None:
        if command == "look":
            here = [receptacle.name for receptacle in self._at.get(self._location, ())]
            return words.facing(here) if here else words.middle_of_room(())
        if command == "inventory":
            if self._held is None:
                return "You are not carrying anything."
            return f"You are carrying: a {self._things[self._held].name}."
        return words.help_text(self._wording) if command == "help" else None

    def _go(self, rest: str) -> str | None:
        receptacle = self._receptacles.get(rest[3:]) if rest.startswith("to ") else None
        if receptacle is None or receptacle.location == self._location:
            return None
        self._location = receptacle.location
        return f"You arrive at {receptacle.name}. {self._describe(receptacle)}"

    def _open(self, name: str) -> str | None:
        receptacle = self._here(name)
        if receptacle is None or not receptacle.openable or name in self._opened:
            return None
        self._opened.add(name)
        return f"You open the {name}. {self._describe(receptacle)}"

    def _close(self, name: str) -> str | None:
        receptacle = self._here(name)
        if receptacle is None or not receptacle.openable or name not in self._opened:
            return None
        self._opened.remove(name)
        return f"You close the {name}."

    def _take(self, rest: str) -> str | None:
        name, _, place = rest.partition(" from ")
        receptacle, i = self._here(place), self._index.get(name)
        if receptacle is None or i is None or self._held is not None or not self._accessible(receptacle):
            return None
        if not self._things[i].pickupable or i not in self._contents[place]:
            return None
        self._contents[place].remove(i)
        self._held = i
        self._sliceable.get(i, set()).discard(self._location)
        return f"You pick up the {name} from the {place}."

    def _store(self, dialect: Dialect, rest: str) -> str | None:
        name, place = _parse_store(dialect, rest)
        receptacle = self._here(place)
        if receptacle is None or self._held is None or self._index.get(name) != self._held:
            return None
        if (self._strict and dialect != self._wording) or not self._fits(self._things[self._held], receptacle):
            return None
        if self._held not in self._contents[place]:
            insort(self._contents[place], self._held)
        if self._held in self._sliceable:
            self._sliceable[self._held].add(self._location)
        self._held = None
        return words.stored(name, place, self._wording)

    def _treat(self, verb: str, rest: str) -> str | None:
        name, _, place = rest.partition(" with ")
        receptacle, i = self._here(place), self._index.get(name)
        if receptacle is None or i is None or i != self._held:
            return None
        if receptacle.type not in _TREATED_AT[verb] or not getattr(self._things[i], f"{verb}able"):
            return None
        self._states[_STATE_AFTER[verb]].add(i)
        if verb != "clean":
            self._states["hot" if verb == "cool" else "cool"].discard(i)
        return f"You {verb} the {name} using the {place}."

    def _use(self, name: str) -> str | None:
        i = self._index.get(name)
        if i is None or not self._things[i].toggleable or not self._is_here(i):
            return None
        self._toggled.add(i)
        return f"You turn on the {name}."

    def _slice(self, rest: str) -> str | None:
        name, _, knife = rest.partition(" with ")
        i, k = self._index.get(name), self._index.get(knife)
        if i is None or k is None or k != self._held or self._things[k].type not in _KNIVES:
            return None
        if self._location not in self._sliceable.get(i, ()):
            return None
        self._states["sliced"].add(i)
        return f"You sliced the {name} with the {knife}."

    def _examine(self, name: str) -> str | None:
        receptacle = self._here(name)
        if receptacle is not None:
            return self._describe(receptacle)
        i = self._index.get(name)
        return None if i is None or i != self._held else self._describe_thing(i)

    # Queries of the state.

    def _here(self, name: str) -> Receptacle | None:
        receptacle = self._receptacles.get(name)
        return receptacle if receptacle is not None and receptacle.location == self._location else None

    def _accessible(self, receptacle: Receptacle) -> bool:
        return not receptacle.openable or receptacle.name in self._opened

    def _fits(self, thing: Thing, receptacle: Receptacle) -> bool:
        return self._accessible(receptacle) and thing.type in self.game.can_contain.get(receptacle.type, ())

    def _is_here(self, i: int) -> bool:
        return any(i in self._contents[receptacle.name] for receptacle in self._at.get(self._location, ()))

    def _describe(self, receptacle: Receptacle) -> str:
        if not self._accessible(receptacle):
            return f"The {receptacle.name} is closed."
        contents = words.listing(self._things[i].name for i in self._contents[receptacle.name])
        where = f"The {receptacle.name} is open. In it" if receptacle.openable else f"On the {receptacle.name}"
        return f"{where}, you see {contents}."

    def _describe_thing(self, i: int) -> str:
        return words.thing_description(
            self._things[i],
            {state for state, members in self._states.items() if i in members},
            toggled=i in self._toggled,
        )

    def _goal_holds(self) -> bool:
        goal = self.game.goal
        if goal.task_type is TaskType.LOOK:
            if self._held is None or not self._wanted(self._held):
                return False
            return any(self._things[i].type == goal.lamp_type and self._is_here(i) for i in self._toggled)
        needed = 2 if goal.task_type is TaskType.TWO else 1
        return any(
            sum(map(self._wanted, self._contents[receptacle.name])) >= needed
            for receptacle in self.game.receptacles
            if receptacle.type == goal.receptacle_type
        )

    def _wanted(self, i: int) -> bool:
        goal, thing = self.game.goal, self._things[i]
        if thing.type != goal.object_type or (goal.sliced and i not in self._states["sliced"]):
            return False
        state = _GOAL_STATE.get(goal.task_type)
        return state is None or i in self._states[state]

    # Listing of admissible commands.

    def _commands(self) -> Iterator[str]:
        yield from ("help", "inventory", "look")
        yield from (f"go to {place.name}" for place in self.game.receptacles if place.location != self._location)
        for receptacle in self._at.get(self._location, ()):
            yield from self._commands_at(receptacle)
        if self._held is not None:
            yield from self._commands_holding(self._things[self._held])

    def _commands_at(self, receptacle: Receptacle) -> Iterator[str]:
        name, contents = receptacle.name, [self._things[i] for i in self._contents[receptacle.name]]
        yield f"examine {name}"
        if receptacle.openable:
            yield f"close {name}" if name in self._opened else f"open {name}"
        yield from (f"use {thing.name}" for thing in contents if thing.toggleable)
        if self._held is None:
            if self._accessible(receptacle):
                yield from (f"take {thing.name} from {name}" for thing in contents if thing.pickupable)
            return
        held = self._things[self._held]
        if self._fits(held, receptacle):
            yield words.storing(held.name, name, self._wording)
        treatments = (verb for verb, types in _TREATED_AT.items() if receptacle.type in types)
        yield from (f"{verb} {held.name} with {name}" for verb in treatments if getattr(held, f"{verb}able"))

    def _commands_holding(self, held: Thing) -> Iterator[str]:
        yield f"examine {held.name}"
        if held.type in _KNIVES:
            here = (self._things[i].name for i, places in self._sliceable.items() if self._location in places)
            yield from (f"slice {name} with {held.name}" for name in here)


def _parse_store(dialect: Dialect, rest: str) -> tuple[str, str]:
    if dialect == "move":
        name, _, place = rest.partition(" to ")
        return name, place
    match = _STORE.fullmatch(rest)
    return (match["thing"], match["receptacle"]) if match else ("", "")
