"""A random policy: it chooses random actions that are plausible in the current state and describes what it sees.

Its thoughts are true, but its actions ignore the task. A model trained on its episodes learns the language of the
environment and copies names, as a pretrained model does, without learning to solve tasks.
"""

from __future__ import annotations

from random import Random

from rollout.environments.household.belief_state import BeliefState, kind_of, purpose, read_task
from rollout.environments.household.catalog import NOUNS, OPENABLE
from rollout.environments.household.game import TOOLS
from rollout.environments.scripted import Move, ScriptedPolicy

_CHANGES = {tool: verb for verb, tool in TOOLS.items()}

_WeightedMove = tuple[float, str, str]
"""Weight, thought, action."""


class HouseholdRandomPolicy(ScriptedPolicy):
    """Acts at random in one household episode.

    Its first thought names the wanted object; later actions ignore it.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._knowledge = BeliefState()

    def _move(self, observation: str) -> Move:
        known, rng = self._knowledge, self._rng
        if not known.places:
            known.read_first(observation)
            task = read_task(observation)
            place = rng.choice(known.places)
            return f"{purpose(task)} I need {task.object_type}. Next place: {place}.", f"go to {place}"
        known.read(observation)
        return random_step(known, rng)


def random_step(known: BeliefState, rng: Random) -> Move:
    """A random thought and action that are plausible at the agent's location."""
    opening = f"For {kind_of(rng.choice(known.places))}"
    moves = [*_go(known, rng, opening), *_at_place(known, rng, opening), *_with_objects(known, rng, opening)]
    moves += [(0.1, f"{opening} I have {known.holding or 'nothing'}.", "inventory"), (0.05, "I look.", "look")]
    _, thought, action = rng.choices(moves, weights=[weight for weight, _, _ in moves])[0]
    return thought, action


def _state(known: BeliefState, rng: Random, opening: str) -> str:
    """A sentence about the held object, or about an object that is absent from the current location."""
    if known.holding and rng.random() < 0.5:
        return f"{opening} I have {known.holding}."
    if known.holding and rng.random() < 0.3:
        opening = f"For {known.holding}"
    here = [kind_of(o) for o in known.here()]
    need = f"{opening} I need {rng.choice([noun for noun in NOUNS if noun not in here])}."
    at = known.location
    return need if at is None or at in known.closed else f"{need} Not at {at}."


def _go(known: BeliefState, rng: Random, opening: str) -> list[_WeightedMove]:
    places = [p for p in known.places if p != known.location] or known.places
    place = rng.choice(places)
    moves = [(2.0, f"{_state(known, rng, opening)} Next place: {place}.", f"go to {place}")]
    seen = [(o, p) for p, objects in known.contents.items() for o in objects if p != known.location]
    seen = [(o, p) for o, p in seen if all(kind_of(o) != kind_of(other) for other in known.here())]
    if seen:
        thing, place = rng.choice(seen)
        at = f" Not at {known.location}." if known.location and known.location not in known.closed else ""
        moves.append((0.7, f"{opening} I need {kind_of(thing)}.{at} I saw {thing} at {place}.", f"go to {place}"))
    if known.holding:
        place = rng.choice(places)
        moves.append((1.0, f"For {kind_of(place)} I have {known.holding}. I must put it in {place}.", f"go to {place}"))
        tools = [p for p in places if kind_of(p) in _CHANGES]
        if tools:
            tool = rng.choice(tools)
            verb = _CHANGES[kind_of(tool)]
            have = f"{opening} to {verb} I have {known.holding}."
            moves.append((1.0, f"{have} I must {verb} it with {tool}.", f"go to {tool}"))
    return moves


def _at_place(known: BeliefState, rng: Random, opening: str) -> list[_WeightedMove]:
    at = known.location
    if at is None:
        return []
    if at in known.closed:
        return [(5.0, f"{_state(known, rng, opening)} It is closed. I open it.", f"open {at}")]
    moves = [(0.2, f"{_state(known, rng, opening)} I examine it.", f"examine {at}")]
    if kind_of(at) in OPENABLE:
        moves.append((0.4, f"{_state(known, rng, opening)} I close it.", f"close {at}"))
    return moves


def _with_objects(known: BeliefState, rng: Random, opening: str) -> list[_WeightedMove]:
    at, held = known.location, known.holding
    moves: list[_WeightedMove] = []
    for lamp in (o for o in known.here() if kind_of(o) == "desklamp"):
        moves.append((1.0, f"{opening} I need {lamp}. I use it.", f"use {lamp}"))
    if held is None:
        movable = [o for o in known.here() if kind_of(o) != "desklamp"]
        if movable:
            kind = kind_of(rng.choice(movable))
            thing = next(o for o in movable if kind_of(o) == kind)
            moves.append((4.0, f"{opening} I need {thing}. I take it.", f"take {thing} from {at}"))
        return moves
    have = f"{opening} I have {held}."
    moves.append((0.1, f"{have} I examine it.", f"examine {held}"))
    if at is not None and kind_of(at) in _CHANGES:
        verb = _CHANGES[kind_of(at)]
        have_to = f"{opening} to {verb} I have {held}."
        moves.append((4.0, f"{have_to} I am at {at}. I {verb} it.", f"{verb} {held} with {at}"))
    if at is not None and at not in known.closed:
        moves.append((2.0, f"For {kind_of(at)} I have {held}. I am at {at}. I put it there.", f"move {held} to {at}"))
    return moves
