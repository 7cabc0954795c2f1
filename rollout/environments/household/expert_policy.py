"""An exploring expert: it uses observations only, searches place by place, and explains each action in a thought.

It is not an oracle. It searches the places in the order of the first observation, places that cannot be closed first,
remembers what it saw, and opens closed places. At given rates it makes the mistakes of small models, so that a model
trained on its episodes also learns to recover from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollout.environments.household.belief_state import BeliefState, ParsedTask, kind_of, purpose, read_task
from rollout.environments.household.game import TOOLS, VERBS, TaskType
from rollout.environments.household.random_policy import random_step
from rollout.environments.household.text import NOTHING_HAPPENS
from rollout.environments.scripted import ExpertPolicy, Move


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Probabilities of the expert's errors, each from 0 to 1.

    Attributes:
        random_step: takes a random action.
        wrong_number: takes an object under a wrong number; nothing happens, and it tries again.
        forget: forgets where it saw an object and continues the search; after the last place it starts over.
    """

    random_step: float = 0.03
    wrong_number: float = 0.08
    forget: float = 0.2


NO_MISTAKES = ErrorRates(0.0, 0.0, 0.0)


class HouseholdExpert(ExpertPolicy[ErrorRates]):
    """Solves one household episode."""

    def __init__(self, seed: int = 0, error_rates: ErrorRates = ErrorRates()) -> None:
        super().__init__(seed, error_rates)
        self._forgotten: set[tuple[str, str]] = set()
        self._remembered: set[tuple[str, str]] = set()
        self._knowledge = BeliefState()
        self._task: ParsedTask | None = None

    def _move(self, observation: str) -> Move:
        known = self._knowledge
        if self._task is None:
            self._task = self._understand(observation)
            known.read_first(observation)
        else:
            known.read(observation)
        if observation.strip() == NOTHING_HAPPENS and self._last_action.startswith("go to "):
            return self._already_there()
        if self._last_action and self._errs(self._error_rates.random_step):
            return random_step(known, self._rng)
        return self._decide(known, self._task)

    def _understand(self, first_message: str) -> ParsedTask:
        """Parse the task. Raises `ValueError` if the message states none."""
        return read_task(first_message)

    def _already_there(self) -> Move:
        """Handle a refused ``go to``: places that share a location are already within reach."""
        self._knowledge.location = self._last_action.removeprefix("go to ")
        return f"I am at {self._knowledge.location}. I examine it.", f"examine {self._knowledge.location}"

    def _decide(self, known: BeliefState, task: ParsedTask) -> Move:
        held = known.holding
        if held is None:
            return self._get_object(known, task)
        if kind_of(held) != task.object_type:
            return self._put_away(known, task, held)
        if task.task_type is TaskType.LOOK:
            return self._use_lamp(known, task, held)
        verb = VERBS.get(task.task_type)
        have = f"{purpose(task, known.states.get(held))} I have {held}."
        if verb and known.states.get(held) != verb:
            return self._change(known, held, verb, have)
        return self._put(known, task, held, have)

    def _get_object(self, known: BeliefState, task: ParsedTask) -> Move:
        target = known.first_place(task.target_type)
        leave = target if task.task_type in (TaskType.TWO, TaskType.PLACE) else None
        wanted = [(o, p) for o, p in known.find(task.object_type) if p != leave]
        here = [o for o in known.here() if (o, known.location) in wanted]
        if here:
            thing = self._named(here[0])
            return f"{purpose(task)} I need {thing}. I take it.", f"take {thing} from {known.location}"
        return self._seek(known, wanted, f"{purpose(task)} I need {task.object_type}.")

    def _named(self, thing: str) -> str:
        """The name of the object, or at the error rate one with a wrong number."""
        if not self._errs(self._error_rates.wrong_number):
            return thing
        kind, number = thing.split()
        return f"{kind} {self._rng.choice([n for n in (1, 2, 3) if str(n) != number])}"

    def _use_lamp(self, known: BeliefState, task: ParsedTask, held: str) -> Move:
        here = [o for o in known.here() if kind_of(o) == task.target_type]
        if here:
            return f"For {held} I need {here[0]}. I use it.", f"use {here[0]}"
        return self._seek(known, known.find(task.target_type), f"For {held} I need {task.target_type}.")

    def _seek(self, known: BeliefState, wanted: list[tuple[str, str]], opening: str) -> Move:
        """Go to a place where a wanted object was seen, otherwise continue the search."""
        at = known.location
        if at is not None and at in known.closed and (at not in known.contents or at in [p for _, p in wanted]):
            return f"{opening} It is closed. I open it.", f"open {at}"
        if at is not None:
            opening += f" Not at {at}."
        for thing, place in wanted:
            if self._remembers(thing, place):
                return f"{opening} I saw {thing} at {place}.", f"go to {place}"
        if known.next_unseen() is None:  # every place was searched without success: search all of them again
            known.contents.clear()
            self._forgotten.clear()
        place = known.next_unseen() or known.places[0]
        if place == at:
            return f"{opening} I examine it.", f"examine {place}"
        return f"{opening} Next place: {place}.", f"go to {place}"

    def _remembers(self, thing: str, place: str) -> bool:
        """Whether it remembers that the object is there; drawn once for each object and place."""
        seen = (thing, place)
        if seen not in self._remembered and seen not in self._forgotten:
            forgets = self._errs(self._error_rates.forget)
            (self._forgotten if forgets else self._remembered).add(seen)
        return seen in self._remembered

    def _change(self, known: BeliefState, held: str, verb: str, have: str) -> Move:
        tool = known.first_place(TOOLS[verb]) or f"{TOOLS[verb]} 1"
        if known.location == tool:
            return f"{have} I am at {tool}. I {verb} it.", f"{verb} {held} with {tool}"
        return f"{have} I must {verb} it with {tool}.", f"go to {tool}"

    def _put(self, known: BeliefState, task: ParsedTask, held: str, have: str) -> Move:
        target = known.first_place(task.target_type) or task.target_type + " 1"
        if known.location != target:
            return f"{have} I must put it in {target}.", f"go to {target}"
        if target in known.closed:
            return f"{have} It is closed. I open it.", f"open {target}"
        return f"{have} I am at {target}. I put it there.", f"move {held} to {target}"

    def _put_away(self, known: BeliefState, task: ParsedTask, held: str) -> Move:
        """Put down an object that is not needed: here, or at another place if that was refused."""
        at, have = known.location, f"{purpose(task)} I have {held}."
        if at is None or self._last_action.startswith(f"move {held} to "):
            place = next(p for p in known.places if at is None or kind_of(p) != kind_of(at))
            return f"{have} I must put it in {place}.", f"go to {place}"
        if at in known.closed:
            return f"{have} It is closed. I open it.", f"open {at}"
        return f"{have} I am at {at}. I put it there.", f"move {held} to {at}"
