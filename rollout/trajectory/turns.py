"""The turns of a finished episode, assembled from its segments by their provenance."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.trajectory.record import Author, Kind, Segment, Trajectory


@dataclass(frozen=True, slots=True)
class CompletedTurn:
    """The model's output in one turn and the observation that follows.

    Attributes:
        number: number of the turn, from 1.
        thought: the model's reasoning, with its parts joined by single spaces.
        action: stripped; None if the model wrote no action.
        observation: text shown to the agent; empty if the episode ended before an observation.
    """

    number: int
    thought: str
    action: str | None
    observation: str


def initial_observation(trajectory: Trajectory) -> str:
    """The first observation and the task as shown to the agent, without hints and examples."""
    shown = (s.text for s in trajectory.segments if s.turn == 0 and s.kind in (Kind.OBSERVATION, Kind.TASK))
    return "".join(shown)


def completed_turns(trajectory: Trajectory) -> list[CompletedTurn]:
    """The turns in which the model generated text. A turn that was opened but not completed is left out."""
    turns: dict[int, list[Segment]] = {}
    for segment in trajectory.segments:
        if segment.turn > 0 and (segment.author is Author.MODEL or segment.kind is Kind.OBSERVATION):
            turns.setdefault(segment.turn, []).append(segment)
    return [_turn(number, turns[number]) for number in sorted(turns)]


def _turn(number: int, segments: list[Segment]) -> CompletedTurn:
    def parts(kind: Kind, author: Author) -> list[str]:
        return [s.text for s in segments if s.kind is kind and s.author is author]

    thoughts = [text.strip() for text in parts(Kind.REASON, Author.MODEL)]
    return CompletedTurn(
        number,
        " ".join(filter(None, thoughts)),
        "".join(parts(Kind.ACT, Author.MODEL)).strip() or None,
        "".join(parts(Kind.OBSERVATION, Author.ENVIRONMENT)),
    )
