"""Seeded generator of houses and tasks with held-out splits.

``valid_seen`` shares layouts and object-receptacle pairs with ``train`` and differs in the arrangement.
``valid_unseen`` has layouts (number of places of each type) that never occur in ``train``. Each of its goals uses an
object-receptacle pair that never occurs in ``train``, neither as a placement nor as a goal. A game is a pure function
of its task's payload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from rollout.environment import Payload, Task
from rollout.environments.generated import GeneratedTasks, check_generator, stable_hash
from rollout.environments.household.catalog import NOUNS, OPENABLE, ROOMS, Room
from rollout.environments.household.game import TOOLS, VERBS, Game, Goal, Receptacle, TaskType, Thing

GENERATOR_VERSION = 1
Size = Literal["small", "full", "mixed"]
"""Size of the houses; ``mixed`` alternates between small and full."""

_ROOMS_OF = {
    TaskType.CLEAN: ("kitchen", "kitchen", "bathroom"),
    TaskType.HEAT: ("kitchen",),
    TaskType.COOL: ("kitchen",),
    TaskType.LOOK: ("bedroom", "bedroom", "livingroom"),
}
_PHRASES = {
    TaskType.PLACE: ("put a {o} in {r}", "put some {o} on {r}"),
    TaskType.LOOK: ("look at {o} under the {r}", "examine the {o} with the {r}"),
    TaskType.CLEAN: ("put a clean {o} in {r}", "clean some {o} and put it in {r}"),
    TaskType.HEAT: ("put a hot {o} in {r}", "heat some {o} and put it in {r}"),
    TaskType.COOL: ("put a cool {o} in {r}", "cool some {o} and put it in {r}"),
    TaskType.TWO: ("put two {o} in {r}", "find two {o} and put them in {r}"),
}
_OTHER_OBJECTS = {"small": (4, 8), "full": (10, 20)}
_HIDDEN_SHARE = 0.3
"""Chance that an object is put into a closed place, if its type allows one."""


def is_held_back_pair(object_type: str, receptacle_type: str) -> bool:
    """Whether this pair is held out from ``train`` and ``valid_seen``."""
    return stable_hash(f"pair/{object_type}/{receptacle_type}") % 6 == 0


def is_held_back_layout(layout: Mapping[str, int]) -> bool:
    """Whether this layout (number of places of each type) is held out from ``train`` and ``valid_seen``."""
    return stable_hash("layout/" + ",".join(f"{name}={layout[name]}" for name in sorted(layout))) % 5 == 0


@dataclass(frozen=True, slots=True)
class HouseholdTasks(GeneratedTasks):
    """Task source of generated houses. It cycles through ``task_types``, repeated ones included; empty means all."""

    size: Size = "full"
    task_types: tuple[TaskType, ...] = ()

    def task(self, split: str, seed: int, index: int) -> Task:
        types = self.task_types or tuple(TaskType)
        task_type = types[index % len(types)]
        size = ("small", "full")[index // len(types) % 2] if self.size == "mixed" else self.size
        payload: Payload = {
            "generator": GENERATOR_VERSION,
            "split": split,
            "size": size,
            "seed": seed,
            "index": index,
            "task_type": task_type.value,
        }
        return Task(f"household/{self.size}/{split}/{seed}/{index}", "household", split, task_type.value, payload)


def generate_game(payload: Payload) -> Game:
    """Generate the game of a task's payload.

    Raises:
        ValueError: the payload was made by another version of the generator.
    """
    check_generator(payload, "house", GENERATOR_VERSION)
    task_type = TaskType(str(payload["task_type"]))
    unseen = payload["split"] == "valid_unseen"
    rng = Random("/".join(str(payload[key]) for key in ("split", "size", "seed", "index", "task_type")))
    while True:  # a layout can lack what the task needs: draw again
        game = _Builder(rng, str(payload["size"]), task_type, unseen).build()
        if game is not None:
            return game


class _Builder:
    """Draws one house and task; `build` returns None if the layout does not fit the task."""

    def __init__(self, rng: Random, size: str, task_type: TaskType, unseen: bool) -> None:
        self.rng = rng
        self.size = size
        self.task_type = task_type
        self.unseen = unseen
        self.room: Room = ROOMS[rng.choice(_ROOMS_OF.get(task_type, tuple(ROOMS)))]
        counts = self.room.small if size == "small" else self.room.full
        self.layout = {name: count for name in counts if (count := rng.randint(*counts[name]))}
        self.placed: list[tuple[str, str]] = []  # (object type, receptacle name)
        self.places = [f"{name} {i}" for name in sorted(self.layout) for i in range(self.layout[name], 0, -1)]

    def build(self) -> Game | None:
        if is_held_back_layout(self.layout) != self.unseen:
            return None
        goal = self._draw_goal()
        if goal is None or not self._place_goal_objects(goal):
            return None
        self._place_others(goal)
        return self._game(goal)

    def _allowed(self, object_type: str, held_back: bool | None = None) -> list[str]:
        """Receptacle types of this house that may contain the object; by default those allowed in the split."""
        types = [t for t in self.layout if t in NOUNS[object_type].places]
        if held_back is None:
            return [t for t in types if self.unseen or not is_held_back_pair(object_type, t)]
        return [t for t in types if is_held_back_pair(object_type, t) == held_back]

    def _draw_goal(self) -> Goal | None:
        verb = VERBS.get(self.task_type, "")
        nouns = [(o, NOUNS[o]) for o in self.room.objects]
        object_type = self.rng.choice([o for o, noun in nouns if not noun.fixed and (not verb or verb in noun.can)])
        if self.task_type is TaskType.LOOK:
            return Goal(self.task_type, object_type, None, lamp_type="desklamp")
        targets = [t for t in self._allowed(object_type, held_back=self.unseen) if t != TOOLS.get(verb)]
        return Goal(self.task_type, object_type, self.rng.choice(targets)) if targets else None

    def _draw_place(self, object_type: str, types: Sequence[str]) -> str | None:
        """A random place of one of the types; closed places are drawn less often."""
        closed = [p for p in self.places if p.split()[0] in types and p.split()[0] in OPENABLE]
        open_ = [p for p in self.places if p.split()[0] in types and p.split()[0] not in OPENABLE]
        pool = closed if closed and (not open_ or self.rng.random() < _HIDDEN_SHARE) else open_
        return self.rng.choice(pool) if pool else None

    def _place_goal_objects(self, goal: Goal) -> bool:
        """Place the goal's objects so that the goal is not reached at the start."""
        held_back = self.unseen if goal.receptacle_type is None else None
        sources = [t for t in self._allowed(goal.object_type, held_back) if t != goal.receptacle_type]
        copies = 2 if goal.task_type is TaskType.TWO else self.rng.choice((1, 1, 2))
        wanted = [(goal.object_type, sources)] * copies
        if goal.lamp_type:
            wanted.append((goal.lamp_type, self._allowed(goal.lamp_type)))
        for object_type, types in wanted:
            place = self._draw_place(object_type, types)
            if place is None:
                return False
            self.placed.append((object_type, place))
        return True

    def _place_others(self, goal: Goal) -> None:
        others = [o for o in self.room.objects if o not in (goal.object_type, goal.lamp_type)]
        for _ in range(self.rng.randint(*_OTHER_OBJECTS[self.size])):
            object_type = self.rng.choice(others)
            place = self._draw_place(object_type, self._allowed(object_type))
            if place is not None and sum(o == object_type for o, _ in self.placed) < 3:
                self.placed.append((object_type, place))

    def _game(self, goal: Goal) -> Game:
        target = goal.receptacle_type or goal.lamp_type or ""
        instruction = self.rng.choice(_PHRASES[self.task_type]).format(o=goal.object_type, r=target)
        self.rng.shuffle(self.placed)  # otherwise the goal's objects would always have the lowest numbers
        return Game(
            receptacles=tuple(Receptacle(p, p.split()[0], f"at {p}", p.split()[0] in OPENABLE) for p in self.places),
            things=tuple(_things(self.placed)),
            goal=goal,
            instruction=instruction,
            start_location="middle of the room",
            can_contain={t: frozenset(o for o in NOUNS if t in NOUNS[o].places) for t in self.layout},
        )


def _things(placed: Sequence[tuple[str, str]]) -> list[Thing]:
    """Number the objects of each type and list them in the order of observations: by type, numbers descending."""
    things: list[Thing] = []
    for object_type in sorted({o for o, _ in placed}):
        noun = NOUNS[object_type]
        places = [place for o, place in placed if o == object_type]
        for number, place in reversed(list(enumerate(places, start=1))):
            things.append(
                Thing(
                    f"{object_type} {number}",
                    object_type,
                    place,
                    location=f"at {place}",
                    pickupable=not noun.fixed,
                    cleanable="clean" in noun.can,
                    heatable="heat" in noun.can,
                    coolable="cool" in noun.can,
                    toggleable="use" in noun.can,
                    sliceable="slice" in noun.can,
                    container="hold" in noun.can,
                )
            )
    return things
