"""The turns of a finished episode, put together from its segments by provenance alone."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.trajectory.record import Author, Kind, Segment, Trajectory


@dataclass(frozen=True, slots=True)
class PlayedTurn:
    """What the model wrote in one turn, and what answered it.

    Attributes:
        number: from 1.
        thought: its reasoning, one blank between parts that stood apart.
        action: stripped; None if the model wrote none.
        observation: as it was shown; "" if the episode ended before an answer.
    """

    number: int
    thought: str
    action: str | None
    observation: str


def opening(trajectory: Trajectory) -> str:
    """The first observation and the task, as the agent read them, without hints and examples."""
    shown = (s.text for s in trajectory.segments if s.turn == 0 and s.kind in (Kind.OBSERVATION, Kind.TASK))
    return "".join(shown)


def played_turns(trajectory: Trajectory) -> list[PlayedTurn]:
    """The turns that the model took part in; one that was opened and never answered by the engine is none."""
    turns: dict[int, list[Segment]] = {}
    for segment in trajectory.segments:
        if segment.turn > 0 and (segment.author is Author.MODEL or segment.kind is Kind.OBSERVATION):
            turns.setdefault(segment.turn, []).append(segment)
    return [_turn(number, turns[number]) for number in sorted(turns)]


def _turn(number: int, segments: list[Segment]) -> PlayedTurn:
    def parts(kind: Kind, author: Author) -> list[str]:
        return [s.text for s in segments if s.kind is kind and s.author is author]

    thoughts = [text.strip() for text in parts(Kind.REASON, Author.MODEL)]
    return PlayedTurn(
        number,
        " ".join(filter(None, thoughts)),
        "".join(parts(Kind.ACT, Author.MODEL)).strip() or None,
        "".join(parts(Kind.OBSERVATION, Author.ENVIRONMENT)),
    )
