"""Builds episodes for the tests of hints from a first observation, actions and observations."""

from __future__ import annotations

from collections.abc import Mapping

from rollout.trajectory import (
    Author,
    Counts,
    Identity,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    Trajectory,
)

ROOM = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a countertop 1, a fridge 1, "
    "a microwave 1, a shelf 1, and a sinkbasin 1."
)
SEARCH_PAGE = "WebShop [SEP] Instruction: [SEP] {wish} [SEP] Search"


def segment(kind: Kind, author: Author, turn: int, text: str) -> Segment:
    return Segment(kind, author, turn, text, ())


def episode(
    first: str,
    instruction: str,
    *turns: tuple[str | None, str],
    task: str = "task 1",
    task_type: str = "pick_and_place_simple",
    environment: str = "household",
    stop: StopReason = StopReason.STEP_LIMIT,
    reward: float = 0.0,
    scores: Mapping[str, float] | None = None,
    invalid: int = 0,
) -> Trajectory:
    """Build an episode from (action or None, observation) turns. Each turn also has a thought."""
    segments = [
        segment(Kind.SYSTEM, Author.PROMPT, 0, "secret instructions"),
        segment(Kind.EXAMPLE, Author.PROMPT, 0, "secret example"),
        segment(Kind.HINT, Author.PROMPT, 0, "Hint: a secret\n\n"),
        segment(Kind.OBSERVATION, Author.ENVIRONMENT, 0, first),
        segment(Kind.TASK, Author.PROMPT, 0, f"\nYour task is to: {instruction}."),
    ]
    for number, (action, answer) in enumerate(turns, start=1):
        segments.append(segment(Kind.FORMAT, Author.TEMPLATE, number, "<assistant>"))
        segments.append(segment(Kind.REASON, Author.MODEL, number, " I act.\n"))
        if action is not None:
            segments.append(segment(Kind.ACT, Author.MODEL, number, f" {action}"))
        segments.append(segment(Kind.OBSERVATION, Author.ENVIRONMENT, number, answer))
    return Trajectory(
        Identity("run", "student", 0, task, 0, environment, "train", task_type),
        Policy("model", 0, "react"),
        Outcome(reward, stop is StopReason.SUCCESS, stop, None, scores or {}),
        tuple(segments),
        Counts(steps=len(turns), invalid_actions=invalid),
    )


def visit(
    wish: str, *turns: tuple[str | None, str], scores: Mapping[str, float] | None = None, task_type: str = "kitchen"
) -> Trajectory:
    """Build an episode in WebShop."""
    first = SEARCH_PAGE.format(wish=wish)
    stop = StopReason.FAILURE if scores else StopReason.STEP_LIMIT
    return episode(first, wish, *turns, task_type=task_type, environment="webshop", stop=stop, scores=scores)
