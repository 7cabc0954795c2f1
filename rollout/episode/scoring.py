"""Scores finished episodes with the teacher, in one forward pass per episode.

    trajectory ──▶ the teacher's prompt (with hints, if any) ──▶ engine.score ──▶ the trajectory with distributions

Only the teacher's distributions are added; the episode itself is unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rollout.concurrency import with_timeout
from rollout.engine import Engine
from rollout.environment import Reset, Task
from rollout.episode.guidance import NO_GUIDANCE, Guide
from rollout.episode.self_test import SelfTest, self_test
from rollout.errors import Boundary, EngineUnavailable, EpisodeError, UserError, boundary
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Author, Kind, Segment, TopK, Trajectory

HEADER = frozenset({Kind.SYSTEM, Kind.EXAMPLE})
"""Kinds of the segments before the hints, besides those of the chat template."""


async def score_trajectory(
    trajectory: Trajectory,
    engine: Engine,
    builder: PromptBuilder,
    top_k: int,
    guide: Guide | None = None,
    *,
    timeout_s: float = 600.0,
) -> Trajectory:
    """Add the teacher's distribution to every token that fits the teacher's context.

    Args:
        trajectory: the finished episode.
        engine: the teacher's engine.
        builder: prompt builder of the teacher, which renders the hints.
        top_k: entries of each distribution; the rest is its tail mass.
        guide: hints that the teacher reads before the task, but the author of the episode did not (privileged scoring).
            The result does not contain their tokens.
        timeout_s: limit for choosing the hints, and for the answer of the engine.

    The first token has an empty distribution, because nothing predicts it. Segments that extend beyond the context have
    no distributions. If the engine fails, no segment has any, and the outcome has the failure: the scoring is owed
    (`rollout.trajectory.is_owed`).

    Raises:
        EngineDied: the engine must be started again.
    """
    before, after = split_at_hints(trajectory.segments)
    try:
        with boundary(Boundary.ENGINE):
            chosen = None if guide is None else guide(task_of(trajectory), reset_of(trajectory))
            guidance = NO_GUIDANCE if chosen is None else await with_timeout(timeout_s, chosen)
            hints = builder.hints(guidance.hints)
            token_ids = [token for segment in (*before, *hints, *after) for token in segment.token_ids]
            answer = await with_timeout(timeout_s, engine.score(token_ids[: engine.max_model_len], top_k))
            rows = replace(answer, model=engine.name)
    except EpisodeError as error:
        unscored = tuple(replace(segment, teacher=None) for segment in (*before, *after))
        return replace(trajectory, segments=unscored, outcome=replace(trajectory.outcome, failure=error.failure))
    first = sum(len(segment.token_ids) for segment in (*before, *hints))
    return replace(trajectory, segments=(*scored_from(before, rows, 0), *scored_from(after, rows, first)))


async def check_distributions(
    engine: Engine, token_ids: Sequence[int], *, written: int, scored: int
) -> SelfTest | None:
    """Check before the first episode that an engine returns the distributions that training needs, and right ones.

    Args:
        engine: the teacher's engine.
        token_ids: any prompt.
        written: entries of the distributions of its own completions; 0 if none are needed.
        scored: entries of the distributions over finished episodes; 0 if none are needed.

    Returns:
        The measured errors of the distributions; None if none are needed.

    Raises:
        UserError: the engine does not return them, or they are wrong.
        EngineUnavailable: the engine cannot be asked now.
    """
    if not written and not scored:
        return None
    try:
        with boundary(Boundary.ENGINE):
            return await self_test(engine, token_ids, written=written, scored=scored)
    except EpisodeError as error:
        if isinstance(error.__cause__, (EngineUnavailable, UserError)):
            raise error.__cause__ from None
        raise UserError(
            "learner.terms need the teacher's distributions, but its engine does not return them: "
            f"{error.failure.message}. Use cross_entropy terms, as the recipes imitation and agent-distillation do, or "
            "another teacher.engine."
        ) from error


def scored_from(segments: Iterable[Segment], rows: TopK, start: int) -> Iterator[Segment]:
    """Add to each segment its slice of ``rows``. The first token of the first segment is row ``start``."""
    for segment in segments:
        stop = start + len(segment.token_ids)
        yield replace(segment, teacher=rows.slice(start, stop) if stop <= len(rows) else None)
        start = stop


def split_at_hints(segments: Sequence[Segment]) -> tuple[Sequence[Segment], Sequence[Segment]]:
    """Split segments at the position of the hints, and drop existing hints."""
    kept = [segment for segment in segments if segment.kind is not Kind.HINT]
    place = 0
    while place < len(kept) and kept[place].turn == 0 and is_header(kept[place]):
        place += 1
    return kept[:place], kept[place:]


def is_header(segment: Segment) -> bool:
    """Whether a segment of turn 0 precedes the hints."""
    return segment.kind in HEADER or segment.author is Author.TEMPLATE


def task_of(trajectory: Trajectory) -> Task:
    """Task of a trajectory for a guide: id, environment, split and type, without the payload."""
    identity = trajectory.identity
    return Task(identity.task, identity.environment, identity.split, identity.task_type)


def reset_of(trajectory: Trajectory) -> Reset:
    """First observation and task instruction, as they were shown in the prompt."""
    first = [segment for segment in trajectory.segments if segment.turn == 0]
    observation = "".join(segment.text for segment in first if segment.kind is Kind.OBSERVATION)
    instruction = "".join(segment.text for segment in first if segment.kind is Kind.TASK)
    return Reset(observation, instruction.strip())
