"""The teacher scores what somebody wrote: one pass over a finished episode, not one a turn.

    trajectory ──▶ the teacher's view (with hints, if it has any) ──▶ engine.score ──▶ the same trajectory, scored

The episode stays as it is; only the teacher's distribution at each of its tokens is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rollout.engine import Engine, Sampling
from rollout.environment import Reset, Task
from rollout.episode.guidance import NONE, Guide
from rollout.errors import Boundary, EpisodeError, UserError, boundary
from rollout.prompts.builder import PromptBuilder
from rollout.trajectory import Author, Kind, Segment, TopK, Trajectory

HEADER = frozenset({Kind.SYSTEM, Kind.EXAMPLE})
"""What stands before the hints, besides the template's own glue."""


async def score_trajectory(
    trajectory: Trajectory, engine: Engine, builder: PromptBuilder, top_k: int, guide: Guide | None = None
) -> Trajectory:
    """The trajectory with the teacher's distribution at every token that the teacher's context holds.

    Args:
        engine: the teacher's.
        builder: of the teacher's prompts; it words the hints.
        top_k: entries of each distribution; the rest is its tail mass.
        guide: hints that the teacher reads before the task and the author of the episode did not (privileged scoring);
            their own tokens are not on the result.

    The first token has an empty distribution, since nothing predicts it. Segments that reach beyond the context stay
    unscored as a whole. If the engine fails, all do, and the failure is on the record beside the outcome of the play.
    """
    before, after = split_at_hints(trajectory.segments)
    try:
        with boundary(Boundary.ENGINE):
            guidance = NONE if guide is None else await guide(task_of(trajectory), reset_of(trajectory))
            hints = builder.hints(guidance.hints)
            token_ids = [token for segment in (*before, *hints, *after) for token in segment.token_ids]
            rows = await engine.score(token_ids[: engine.max_model_len], top_k)
    except EpisodeError as error:
        unscored = tuple(replace(segment, teacher=None) for segment in (*before, *after))
        return replace(trajectory, segments=unscored, outcome=replace(trajectory.outcome, failure=error.failure))
    first = sum(len(segment.token_ids) for segment in (*before, *hints))
    return replace(trajectory, segments=(*scored_from(before, rows, 0), *scored_from(after, rows, first)))


async def require_distributions(engine: Engine, token_ids: Sequence[int], *, written: int, scored: int) -> None:
    """Try whether an engine gives what is going to be learned from, before anything is played.

    Args:
        engine: the teacher's.
        token_ids: any prompt.
        written: entries of the distributions beside what it writes; 0 needs none.
        scored: entries of the distributions over finished episodes; 0 needs none.

    Raises:
        UserError: it does not.
    """
    try:
        with boundary(Boundary.ENGINE):
            if written:
                asked = Sampling(max_tokens=1, top_logprobs=written)
                if (await engine.generate(token_ids, asked, "distributions")).top is None:
                    raise NotImplementedError("its answers come without log-probabilities")
            if scored:
                await engine.score(token_ids, scored)
    except EpisodeError as error:
        raise UserError(
            "learner.terms ask for the teacher's distributions, and its engine does not give them: "
            f"{error.failure.message}. Use cross_entropy terms, as the recipes imitation and agent-distillation do, or "
            "another teacher.engine."
        ) from error


def scored_from(segments: Iterable[Segment], rows: TopK, start: int) -> Iterator[Segment]:
    """The segments with their shares of ``rows``, whose first token is row ``start``."""
    for segment in segments:
        stop = start + len(segment.token_ids)
        yield replace(segment, teacher=rows.slice(start, stop) if stop <= len(rows) else None)
        start = stop


def split_at_hints(segments: Sequence[Segment]) -> tuple[Sequence[Segment], Sequence[Segment]]:
    """What stands before the place where hints are shown, and the rest, without hints that are there already."""
    kept = [segment for segment in segments if segment.kind is not Kind.HINT]
    place = 0
    while place < len(kept) and kept[place].turn == 0 and is_header(kept[place]):
        place += 1
    return kept[:place], kept[place:]


def is_header(segment: Segment) -> bool:
    """Whether a segment of the opening stands before the hints."""
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
