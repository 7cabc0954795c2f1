"""The teacher scores what somebody wrote: one pass over a finished episode, not one a turn.

    trajectory ──▶ the teacher's view (with hints, if it has any) ──▶ engine.score ──▶ the same trajectory, scored

The episode stays as it is; only the teacher's distribution at each of its tokens is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rollout.engine import Engine
from rollout.environment import Reset, Task
from rollout.errors import Boundary, boundary
from rollout.guidance import Guide
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Author, Kind, Segment, TopK, Trajectory

HEADER = frozenset({Kind.SYSTEM, Kind.EXAMPLE})
"""What stands before the hints, besides the template's own glue."""


async def score(
    trajectory: Trajectory, engine: Engine, builder: PromptBuilder, top_k: int, guide: Guide | None = None
) -> Trajectory:
    """The trajectory with the teacher's distribution at every token that the teacher can see whole.

    Args:
        engine: the teacher's.
        builder: of the teacher's prompts; it words the hints.
        top_k: entries of each distribution; the rest is its tail mass.
        guide: hints that the teacher reads before the task and the author of the episode did not (privileged scoring);
            their own tokens are not on the result.

    Tokens beyond the teacher's context, and the episode's first token, stay unscored (None on their segment as a
    whole, so that "never scored" is not mixed with scores).

    Raises:
        EpisodeError: the engine failed, or cannot score.
    """
    hints: Sequence[Segment] = ()
    if guide is not None:
        with boundary(Boundary.ENGINE):
            hints = builder.hints((await guide(task_of(trajectory), reset_of(trajectory))).hints)
    before, after = split_at_hints(trajectory.segments)
    token_ids = [token for segment in (*before, *hints, *after) for token in segment.token_ids]
    with boundary(Boundary.ENGINE):
        rows = await engine.score(token_ids[: engine.max_model_len], top_k)
    first = sum(len(segment.token_ids) for segment in (*before, *hints))
    scored = [*scored_from(before, rows, 0), *scored_from(after, rows, first)]
    return replace(trajectory, segments=tuple(scored))


def scored_from(segments: Iterable[Segment], rows: TopK, start: int) -> Iterable[Segment]:
    """The segments with their shares of ``rows``, whose first token is row ``start``."""
    for segment in segments:
        stop = start + len(segment.token_ids)
        is_seen = 0 < start and stop <= len(rows)
        yield replace(segment, teacher=rows.slice(start, stop) if is_seen else None)
        start = stop


def split_at_hints(segments: Sequence[Segment]) -> tuple[Sequence[Segment], Sequence[Segment]]:
    """What stands before the place where hints are shown, and the rest, without hints that are there already."""
    kept = [segment for segment in segments if segment.kind is not Kind.HINT]
    place = 0
    while place < len(kept) and kept[place].turn == 0 and is_header(kept[place]):
        place += 1
    return kept[:place], kept[place:]


def is_header(segment: Segment) -> bool:
    return segment.kind in HEADER or segment.author is Author.TEMPLATE


def task_of(trajectory: Trajectory) -> Task:
    """The task as far as a guide needs it: its id, its world and its type, without what makes the world."""
    identity = trajectory.identity
    return Task(identity.task, identity.environment, identity.split, identity.task_type)


def reset_of(trajectory: Trajectory) -> Reset:
    """What was seen first, and the task's words as they were shown."""
    first = [segment for segment in trajectory.segments if segment.turn == 0]
    seen = "".join(segment.text for segment in first if segment.kind is Kind.OBSERVATION)
    told = "".join(segment.text for segment in first if segment.kind is Kind.TASK)
    return Reset(seen, told.strip())


def is_scored(trajectory: Trajectory) -> bool:
    """Whether the teacher's distribution is there for all that a model wrote."""
    written = [segment for segment in trajectory.segments if segment.author is Author.MODEL]
    return all(segment.teacher is not None for segment in written)
