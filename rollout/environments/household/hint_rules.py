"""Hint rules for failed household episodes; they read only what the agent could read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.environments.household.belief_state import BeliefState, ParsedTask, kind_of, read_task
from rollout.environments.household.catalog import OPENABLE
from rollout.environments.household.game import TOOLS, VERBS, TaskType
from rollout.environments.household.text import NOTHING_HAPPENS
from rollout.hints.rules import RuleBook, no_action, repeated_without_effect, when
from rollout.trajectory import Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns, initial_observation

_COMMAND = re.compile(
    r"(?P<verb>take|move|put|clean|heat|cool) (?P<thing>[a-z]+ \d+) (?:from|to|in/on|in|on|with) (?P<place>[a-z]+ \d+)"
)
_NAMED = 3
"""Maximum number of place types in one hint."""


@dataclass(frozen=True, slots=True)
class ObjectAction:
    """An action on an object at a place, and what the agent knew before it.

    Attributes:
        verb: ``take``, ``put`` (also for ``move``), ``clean``, ``heat`` or ``cool``.
        refused: whether the answer was ``Nothing happens.``
        at: location of the agent; None in the middle of the room.
        holding: the held object.
        shut: whether the place was closed.
        there: contents of the place as last seen; None if never seen.
        changed: last change made to the object, such as ``heat``; "" if none.
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
class HouseholdEpisode:
    """A household episode as observed by its agent.

    Attributes:
        task: the parsed task.
        turns: turns of the episode.
        places: all places of the house.
        visited: places where the agent was.
        object_actions: the actions on objects.
        used: types of the objects that were turned on.
        seen_in: places where a wanted object was seen, except where the agent had put it.
        names: names of all objects that were seen.
    """

    task: ParsedTask
    turns: list[CompletedTurn]
    places: list[str]
    visited: set[str] = field(default_factory=set)
    object_actions: list[ObjectAction] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    seen_in: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def wanted(self, thing: str) -> bool:
        return kind_of(thing) == self.task.object_type

    def done(self, verb: str) -> list[ObjectAction]:
        """Successful actions with this verb on wanted objects."""
        return [
            event
            for event in self.object_actions
            if event.verb == verb and not event.refused and self.wanted(event.thing)
        ]

    def delivered(self) -> list[ObjectAction]:
        """Actions that put a wanted object into a receptacle of the wanted type."""
        return [event for event in self.done("put") if kind_of(event.place) == self.task.target_type]

    def unvisited(self) -> list[str]:
        """Distinct types of the places where the agent was not."""
        return list(dict.fromkeys(kind_of(place) for place in self.places if place not in self.visited))

    def refused(self, *verbs: str) -> list[ObjectAction]:
        return [event for event in self.object_actions if event.verb in verbs and event.refused]

    @property
    def looks(self) -> bool:
        """Whether the task is to look at an object in light."""
        return self.task.task_type is TaskType.LOOK

    @property
    def change(self) -> str:
        """The change that the task requires before the object is put down; "" if none."""
        return VERBS.get(self.task.task_type, "")


def read_episode(trajectory: Trajectory) -> HouseholdEpisode:
    """Parse an episode. Raises `ValueError` if it states no household task."""
    first, known, turns = initial_observation(trajectory), BeliefState(), completed_turns(trajectory)
    known.read_first(first)
    episode = HouseholdEpisode(read_task(first), turns, list(known.places))
    for turn in turns:
        _follow(episode, known, turn)
    return episode


def _follow(episode: HouseholdEpisode, known: BeliefState, turn: CompletedTurn) -> None:
    action, refused = turn.action or "", turn.observation.strip() == NOTHING_HAPPENS
    if event := _object_action(action, known, refused):
        episode.object_actions.append(event)
    if not refused and action.startswith("use "):
        episode.used.add(kind_of(action.removeprefix("use ")))
    known.read(turn.observation)
    if known.location is not None:
        episode.visited.add(known.location)
    put_there = {event.thing for event in episode.object_actions if event.verb == "put" and not event.refused}
    for place, things in known.contents.items():
        episode.names.update(things)
        if place not in episode.seen_in and any(episode.wanted(thing) and thing not in put_there for thing in things):
            episode.seen_in.append(place)


def _object_action(action: str, known: BeliefState, refused: bool) -> ObjectAction | None:
    match = _COMMAND.fullmatch(action)
    if match is None:
        return None
    verb, thing, place = match["verb"], match["thing"], match["place"]
    there = known.contents.get(place)
    return ObjectAction(
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


HINTS: Mapping[str, Callable[[HouseholdEpisode], Iterable[str]]] = {
    # The wanted object was seen but never taken.
    "not_taken": lambda e: when(e.seen_in and not e.done("take"), "Take the {object} as soon as you see it."),
    # The wanted object was taken but not cleaned, heated or cooled.
    "not_changed": lambda e: when(
        e.change and e.done("take") and not e.done(e.change),
        f"Before you put the {{object}} down, go to the {TOOLS.get(e.change)} and {e.change} it there.",
    ),
    # The object to be looked at was taken, but the lamp was not turned on.
    "lamp_not_used": lambda e: when(
        e.looks and e.done("take") and e.task.target_type not in e.used,
        f"Hold the {{object}}, go to the {e.task.target_type} and use it.",
    ),
    # The object was taken and changed as required, but never put down.
    "not_delivered": lambda e: when(
        not e.looks and e.done(e.change or "take") and not e.done("put"),
        "When the {object} is ready, go to the {location} and put it there.",
    ),
    # The object was put into a receptacle of a wrong type.
    "wrong_receptacle": lambda e: when(
        not e.looks and len(e.delivered()) < len(e.done("put")),
        "Put the {object} only where the task wants it: in/on the {location}.",
    ),
    # The object was put into the right receptacle without the required change.
    "put_unchanged": lambda e: when(
        e.change and any(event.changed != e.change for event in e.delivered()),
        f"Do not put the {{object}} in/on the {{location}} before you {e.change} it.",
    ),
    # The task requires two objects, but only one was delivered.
    "one_of_two": lambda e: when(
        e.task.task_type is TaskType.TWO and len({event.thing for event in e.delivered()}) == 1,
        "One {object} is not enough: look for the second one and bring it to the same {location}.",
    ),
    # The wanted object was not found, and some places were not visited.
    "not_visited": lambda e: when(
        not e.seen_in and e.unvisited(),
        f"Search every place once before you return to one: also {_listed(e.unvisited()[:_NAMED])}.",
    ),
    # The agent tried to take an object from a closed place or to put one into it.
    "closed_receptacle": lambda e: when(
        any(event.shut and event.at == event.place for event in e.refused("take", "put")),
        "Open a closed {container} before you take from it or put into it.",
    ),
    # The agent tried to put down, clean, heat or cool an object that it did not hold.
    "not_holding": lambda e: [
        f"Take the {{object}} in your hand before you {verb} it."
        for verb in ("put", *TOOLS)
        if any(event.holding != event.thing for event in e.refused(verb))
    ],
    # The agent tried to clean, heat or cool an object at a receptacle of a wrong type.
    "wrong_tool": lambda e: [
        f"To {verb} the {{object}}, use the {tool}."
        for verb, tool in TOOLS.items()
        if any(kind_of(event.place) != tool for event in e.refused(verb))
    ],
    # The agent tried to take an object while holding another one.
    "already_holding": lambda e: when(
        any(event.holding for event in e.refused("take")),
        "You can carry one thing: put down what you have before you take the {object}.",
    ),
    # The agent tried to act at a place before going there.
    "not_at_place": lambda e: when(
        any(event.at != event.place for event in e.refused("take", "put", *TOOLS)),
        "Go to the place first, then take, put, clean, heat or cool there.",
    ),
    # The agent tried to take an object from a place where it had not seen it.
    "not_there": lambda e: when(
        any(
            event.at == event.place and event.there is not None and event.thing not in event.there
            for event in e.refused("take")
        ),
        "Take only a thing that was listed at the place where you stand, with its number.",
    ),
    # An object was taken that the task does not name.
    "took_wrong_object": lambda e: when(
        any(event.verb == "take" and not event.refused and not e.wanted(event.thing) for event in e.object_actions),
        "Take nothing but the {object} that the task names.",
    ),
}
"""Rules by the mistake that they detect, the worst first."""


def names_of(episode: HouseholdEpisode) -> Mapping[str, str]:
    """Names in this episode and their placeholders. Places that change objects keep their type, used by hints."""
    names = dict.fromkeys(episode.names, "{object}")
    for place in episode.places:
        kind = kind_of(place)
        other = "{container}" if kind in OPENABLE else "{location}"
        names[place] = kind if kind in TOOLS.values() else other
    target = episode.task.target_type if episode.looks else "{location}"
    return {**names, episode.task.target_type: target, episode.task.object_type: "{object}"}


def seen(episode: HouseholdEpisode) -> Iterable[str]:
    """Types of the places where a wanted object was seen."""
    return dict.fromkeys(kind_of(place) for place in episode.seen_in)


def look_for(kinds: Sequence[str]) -> str:
    """A hint that names the place types to search first."""
    return f"Look for the {{object}} in/on {_listed(kinds[:_NAMED])}."


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(f"the {kind}" for kind in kinds)


RULES: RuleBook[HouseholdEpisode] = RuleBook(
    read=read_episode,
    rules=(
        *HINTS.values(),
        lambda episode: repeated_without_effect(episode.turns),
        lambda episode: no_action(episode.turns),
    ),
    names=names_of,
    placeholders=("object", "container", "location"),
    seen=seen,
    look_for=look_for,
)
