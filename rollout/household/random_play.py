"""A player with words and no aim: it does random things that make sense where it stands, and says what it sees.

Whatever its thoughts state is true, but nothing it does serves the task. A model trained on such play knows the
language of the house and can copy a name, as a pretrained model does, and has no policy.
"""

from __future__ import annotations

from random import Random

from rollout.household.catalogue import NOUNS, OPENABLE
from rollout.household.knowledge import Knowledge, kind_of, read_task, restate

_TOOLS = {"sinkbasin": "clean", "microwave": "heat", "fridge": "cool"}

Move = tuple[float, str, str]
"""Weight, thought, action."""


class RandomPlayer:
    """Plays one household episode at random (`rollout.policy.TextPolicy`)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = Random(seed)
        self._knowledge = Knowledge()

    def respond(self, observation: str) -> str:
        opening = ""
        if not self._knowledge.places:
            self._knowledge.read_first(observation)
            opening = restate(read_task(observation))
        else:
            self._knowledge.read(observation)
        thought, action = random_step(self._knowledge, self._rng, opening)
        return f"Thought: {thought}\nAction: {action}"


def random_step(known: Knowledge, rng: Random, opening: str = "") -> tuple[str, str]:
    """A random thought and action that make sense where the agent stands. ``opening`` begins the first thought."""
    moves = [*_go(known, rng, opening), *_at_place(known, rng), *_with_objects(known, rng), *_idle(known)]
    if opening:
        moves = moves[:1]
    _, thought, action = rng.choices(moves, weights=[weight for weight, _, _ in moves])[0]
    return thought, action


def _state(known: Knowledge, rng: Random) -> str:
    """What the agent holds, or a thing it says it needs; whether that thing is here."""
    if known.holding and rng.random() < 0.7:
        return f"I have {known.holding}."
    here = [kind_of(o) for o in known.here()]
    need = rng.choice([noun for noun in NOUNS if noun not in here])
    at = known.location
    return f"I need {need}." if at is None or at in known.closed else f"I need {need}. Not at {at}."


def _go(known: Knowledge, rng: Random, opening: str) -> list[Move]:
    places = [p for p in known.places if p != known.location] or known.places
    place = rng.choice(places)
    moves = [(2.0, f"{opening or _state(known, rng)} Next place: {place}.", f"go to {place}")]
    seen = [(o, p) for p, objects in known.contents.items() for o in objects if p != known.location]
    if seen:
        thing, place = rng.choice(seen)
        moves.append((0.7, f"{_state(known, rng)} I saw {thing} at {place}.", f"go to {place}"))
    if known.holding:
        place = rng.choice(places)
        moves.append((1.0, f"I have {known.holding}. I must put it in {place}.", f"go to {place}"))
        tools = [p for p in places if kind_of(p) in _TOOLS]
        if tools:
            tool = rng.choice(tools)
            verb = _TOOLS[kind_of(tool)]
            moves.append((1.0, f"I have {known.holding}. I must {verb} it with {tool}.", f"go to {tool}"))
    return moves


def _at_place(known: Knowledge, rng: Random) -> list[Move]:
    at = known.location
    if at is None:
        return []
    if at in known.closed:
        need = known.holding or rng.choice(list(NOUNS))
        opening = f"I have {need}." if known.holding else f"I need {need}."
        return [(5.0, f"{opening} It is closed. I open it.", f"open {at}")]
    moves = [(0.2, f"{_state(known, rng)} I examine it.", f"examine {at}")]
    if kind_of(at) in OPENABLE:
        moves.append((0.4, f"{_state(known, rng)} I close it.", f"close {at}"))
    return moves


def _with_objects(known: Knowledge, rng: Random) -> list[Move]:
    at, held = known.location, known.holding
    moves: list[Move] = []
    for lamp in (o for o in known.here() if kind_of(o) == "desklamp"):
        moves.append((1.0, f"I need desklamp. I see {lamp}. I use it.", f"use {lamp}"))
    if held is None:
        movable = [o for o in known.here() if kind_of(o) != "desklamp"]
        if movable:
            kind = kind_of(rng.choice(movable))
            thing = next(o for o in movable if kind_of(o) == kind)
            moves.append((4.0, f"I need {kind}. I see {thing}. I take it.", f"take {thing} from {at}"))
        return moves
    moves.append((0.1, f"I have {held}. I examine it.", f"examine {held}"))
    if at is not None and kind_of(at) in _TOOLS:
        verb = _TOOLS[kind_of(at)]
        moves.append((4.0, f"I have {held}. I am at {at}. I {verb} it.", f"{verb} {held} with {at}"))
    if at is not None and at not in known.closed:
        moves.append((2.0, f"I have {held}. I am at {at}. I put it there.", f"move {held} to {at}"))
    return moves


def _idle(known: Knowledge) -> list[Move]:
    return [(0.1, f"I have {known.holding or 'nothing'}.", "inventory"), (0.05, "I look.", "look")]
