"""An exploring expert: it knows no more than it has read, searches place by place, and says why it does what it does.

It is no oracle plan. It looks through the places in the order in which the house lists them, those that stand open
first, remembers what it saw, and opens what is closed. Now and then it makes the mistakes that small models make, so
that a model trained on its episodes also sees how to go on from where an expert would not be.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollout.environments.household.belief_state import (
    NOTHING_HAPPENS,
    VERBS,
    BeliefState,
    ParsedTask,
    kind_of,
    purpose,
    read_task,
)
from rollout.environments.household.game import TaskType
from rollout.environments.household.random_policy import random_step
from rollout.environments.scripted import ExpertPolicy, Move

_TOOL = {TaskType.CLEAN: "sinkbasin", TaskType.HEAT: "microwave", TaskType.COOL: "fridge"}


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often the expert errs: chances from 0 to 1.

    Attributes:
        random_step: does something that serves nothing.
        wrong_number: reaches for a thing under the number of another one; nothing happens, and it tries again.
        forget: no longer knows where it saw what it now needs, and searches on; once all was searched, from the start.
    """

    random_step: float = 0.03
    wrong_number: float = 0.08
    forget: float = 0.2


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class HouseholdExpert(ExpertPolicy[ErrorRates]):
    """Plays one household episode."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._forgotten: set[tuple[str, str]] = set()
        self._remembered: set[tuple[str, str]] = set()
        self._knowledge = BeliefState()
        self._wish: ParsedTask | None = None

    def _move(self, observation: str) -> Move:
        known = self._knowledge
        if self._wish is None:
            self._wish = self._understand(observation)
            known.read_first(observation)
        else:
            known.read(observation)
        if observation.strip() == NOTHING_HAPPENS and self._last_action.startswith("go to "):
            return self._already_there()
        if self._last_action and self._errs(self._error_rates.random_step):
            return random_step(known, self._rng)
        return self._decide(known, self._wish)

    def _understand(self, first_message: str) -> ParsedTask:
        """What it takes the task to be. Raises `ValueError` if none is stated."""
        return read_task(first_message)

    def _already_there(self) -> Move:
        """``go to`` is refused for a place within reach: some share one spot."""
        self._knowledge.location = self._last_action.removeprefix("go to ")
        return f"I am at {self._knowledge.location}. I examine it.", f"examine {self._knowledge.location}"

    def _decide(self, known: BeliefState, wish: ParsedTask) -> Move:
        held = known.holding
        if held is None:
            return self._get_object(known, wish)
        if kind_of(held) != wish.object_type:
            return self._put_away(known, wish, held)
        if wish.task_type is TaskType.LOOK:
            return self._use_lamp(known, wish, held)
        verb = VERBS.get(wish.task_type)
        have = f"{purpose(wish, known.states.get(held))} I have {held}."
        if verb and known.states.get(held) != verb:
            return self._change(known, wish, held, verb, have)
        return self._put(known, wish, held, have)

    def _get_object(self, known: BeliefState, wish: ParsedTask) -> Move:
        target = known.first_place(wish.target_type)
        leave = target if wish.task_type in (TaskType.TWO, TaskType.PLACE) else None
        wanted = [(o, p) for o, p in known.find(wish.object_type) if p != leave]
        here = [o for o in known.here() if (o, known.location) in wanted]
        if here:
            thing = self._named(here[0])
            return f"{purpose(wish)} I need {thing}. I take it.", f"take {thing} from {known.location}"
        return self._seek(known, wanted, f"{purpose(wish)} I need {wish.object_type}.")

    def _named(self, thing: str) -> str:
        """The thing's name, or now and then that of another one of its kind."""
        if not self._errs(self._error_rates.wrong_number):
            return thing
        kind, number = thing.split()
        return f"{kind} {self._rng.choice([n for n in (1, 2, 3) if str(n) != number])}"

    def _use_lamp(self, known: BeliefState, wish: ParsedTask, held: str) -> Move:
        here = [o for o in known.here() if kind_of(o) == wish.target_type]
        if here:
            return f"For {held} I need {here[0]}. I use it.", f"use {here[0]}"
        return self._seek(known, known.find(wish.target_type), f"For {held} I need {wish.target_type}.")

    def _seek(self, known: BeliefState, wanted: list[tuple[str, str]], opening: str) -> Move:
        """Go where one was seen, else search on."""
        at = known.location
        if at is not None and at in known.closed and (at not in known.contents or at in [p for _, p in wanted]):
            return f"{opening} It is closed. I open it.", f"open {at}"
        if at is not None:
            opening += f" Not at {at}."
        for thing, place in wanted:
            if self._remembers(thing, place):
                return f"{opening} I saw {thing} at {place}.", f"go to {place}"
        if known.next_unseen() is None:  # all was seen and it is nowhere: what was seen may have been misread
            known.contents.clear()
            self._forgotten.clear()
        place = known.next_unseen() or known.places[0]
        if place == at:
            return f"{opening} I examine it.", f"examine {place}"
        return f"{opening} Next place: {place}.", f"go to {place}"

    def _remembers(self, thing: str, place: str) -> bool:
        """Whether it still knows that the thing is there; drawn once for each sighting."""
        seen = (thing, place)
        if seen not in self._remembered and seen not in self._forgotten:
            forgets = self._errs(self._error_rates.forget)
            (self._forgotten if forgets else self._remembered).add(seen)
        return seen in self._remembered

    def _change(self, known: BeliefState, wish: ParsedTask, held: str, verb: str, have: str) -> Move:
        tool = known.first_place(_TOOL[wish.task_type]) or _TOOL[wish.task_type] + " 1"
        if known.location == tool:
            return f"{have} I am at {tool}. I {verb} it.", f"{verb} {held} with {tool}"
        return f"{have} I must {verb} it with {tool}.", f"go to {tool}"

    def _put(self, known: BeliefState, wish: ParsedTask, held: str, have: str) -> Move:
        target = known.first_place(wish.target_type) or wish.target_type + " 1"
        if known.location != target:
            return f"{have} I must put it in {target}.", f"go to {target}"
        if target in known.closed:
            return f"{have} It is closed. I open it.", f"open {target}"
        return f"{have} I am at {target}. I put it there.", f"move {held} to {target}"

    def _put_away(self, known: BeliefState, wish: ParsedTask, held: str) -> Move:
        """Lay down a thing that is not needed: here, or where it was first refused, somewhere else."""
        at, have = known.location, f"{purpose(wish)} I have {held}."
        refused = self._last_action.startswith(f"move {held} to ")
        if at is None or refused:
            place = next(p for p in known.places if at is None or kind_of(p) != kind_of(at))
            return f"{have} I must put it in {place}.", f"go to {place}"
        if at in known.closed:
            return f"{have} It is closed. I open it.", f"open {at}"
        return f"{have} I am at {at}. I put it there.", f"move {held} to {at}"
