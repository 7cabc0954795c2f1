"""The state of a house as inferred from observations alone; nothing here reads the simulator."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rollout.environments.household.catalog import OPENABLE
from rollout.environments.household.game import VERBS, TaskType

_NAME = r"([a-z]+ \d+)"
_LISTED = re.compile(rf"\ba {_NAME}")
_SEEN = re.compile(rf"(?:On the {_NAME}|The {_NAME} is open\. In it), you see (.*)\.")
_CLOSED = re.compile(rf"The {_NAME} is closed\.")
_ARRIVED = re.compile(rf"You arrive at {_NAME}\.")
_TAKEN = re.compile(rf"You pick up the {_NAME} from the {_NAME}\.")
_MOVED = re.compile(rf"You (?:move|put) the {_NAME} (?:to|in/on) the {_NAME}\.")
_CHANGED = re.compile(rf"You (clean|heat|cool) the {_NAME} using the {_NAME}\.")
_SHUT = re.compile(rf"You close the {_NAME}\.")

_TASKS: tuple[tuple[TaskType, re.Pattern[str]], ...] = (
    (TaskType.TWO, re.compile(r"(?:put two|find two) (\w+) (?:and put them )?(?:in|on) (\w+)")),
    (TaskType.LOOK, re.compile(r"(?:look at|examine the) (\w+) (?:under|with) the (\w+)")),
    (TaskType.CLEAN, re.compile(r"(?:put a clean|clean some) (\w+) (?:and put it )?(?:in|on) (\w+)")),
    (TaskType.HEAT, re.compile(r"(?:put a hot|heat some) (\w+) (?:and put it )?(?:in|on) (\w+)")),
    (TaskType.COOL, re.compile(r"(?:put a cool|cool some) (\w+) (?:and put it )?(?:in|on) (\w+)")),
    (TaskType.PLACE, re.compile(r"put (?:a|some) (\w+) (?:in|on) (\w+)")),
)


def kind_of(name: str) -> str:
    """The type of ``apple 2``: ``apple``."""
    return name.split()[0]


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """A task parsed from its instruction. ``target_type`` is the lamp's type for ``look_at_obj_in_light``."""

    task_type: TaskType
    object_type: str
    target_type: str


def read_task(text: str) -> ParsedTask:
    """Parse the task in a first message.

    Raises:
        ValueError: the message states no known task.
    """
    statement = text.rsplit("Your task is to: ", 1)[-1]
    for task_type, pattern in _TASKS:
        if match := pattern.search(statement):
            return ParsedTask(task_type, match.group(1), match.group(2))
    raise ValueError(f"no household task is stated in {statement[:120]!r}")


def purpose(task: ParsedTask, done: str | None = None) -> str:
    """The opening of a thought, which repeats the task in each turn.

    ``done`` is the last change made to the object. A required change is named until it is made.
    """
    verb = VERBS.get(task.task_type)
    return f"For {task.target_type}" + (f" to {verb}" if verb and done != verb else "")


@dataclass(slots=True)
class BeliefState:
    """Everything read so far. ``contents`` holds only places whose contents were seen."""

    places: list[str] = field(default_factory=list)
    contents: dict[str, list[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    location: str | None = None
    holding: str | None = None
    states: dict[str, str] = field(default_factory=dict)
    """Object to the last change made to it: ``clean``, ``heat`` or ``cool``."""

    def read_first(self, text: str) -> None:
        """Read the first observation, which lists the places."""
        self.places = _LISTED.findall(text.split("Your task is to", 1)[0])

    def read(self, text: str) -> None:
        """Read the observation after an action."""
        if match := _ARRIVED.search(text):
            self.location = match.group(1)
        if match := _TAKEN.search(text):
            self.holding = match.group(1)
            if match.group(1) in self.contents.get(match.group(2), []):
                self.contents[match.group(2)].remove(match.group(1))
        if match := _MOVED.search(text):
            self.holding = None
            self.contents.setdefault(match.group(2), []).append(match.group(1))
        if match := _CHANGED.search(text):
            self.states[match.group(2)] = match.group(1)
        for match in _SEEN.finditer(text):
            place = match.group(1) or match.group(2)
            self.contents[place] = _LISTED.findall(match.group(3))
            self.closed.discard(place)
        for pattern in (_CLOSED, _SHUT):
            if match := pattern.search(text):
                self.closed.add(match.group(1))

    def here(self) -> list[str]:
        """Objects visible at the agent's location."""
        return [] if self.location is None or self.location in self.closed else self.contents.get(self.location, [])

    def find(self, object_type: str) -> list[tuple[str, str]]:
        """Known (object, place) pairs of a type, in the order in which the house lists its places."""
        return [(o, p) for p in self.places for o in self.contents.get(p, []) if kind_of(o) == object_type]

    def first_place(self, place_type: str) -> str | None:
        return next((p for p in self.places if kind_of(p) == place_type), None)

    def next_unseen(self) -> str | None:
        """The next place to search, in the order of the first observation; places that cannot be closed come first."""
        unseen = [p for p in self.places if p not in self.contents]
        open_ = [p for p in unseen if kind_of(p) not in OPENABLE]
        return next(iter(open_ or unseen), None)
