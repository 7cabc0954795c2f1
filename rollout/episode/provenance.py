"""Records on the segments of a turn which engine generated them, with which weights, and whether they were cut."""

from __future__ import annotations

from dataclasses import replace

from rollout.engine import Completion
from rollout.prompts.builder import Turn
from rollout.trajectory import Author, Segment, Truncation


def with_provenance(turn: Turn, completion: Completion, engine: str) -> Turn:
    """The turn of a completion, with the engine, its weight version and the cut of its text on the model's segments.

    Distributions get the engine as their model. The last segment of the model is marked as cut if the completion
    reached its token limit.
    """
    segments = [
        _generated(segment, engine, completion.weight_version) if segment.author is Author.MODEL else segment
        for segment in turn.segments
    ]
    places = [place for place, segment in enumerate(segments) if segment.author is Author.MODEL]
    if completion.finish_reason == "length" and places:
        segments[places[-1]] = replace(segments[places[-1]], truncated=Truncation.MAX_TOKENS)
    return replace(turn, segments=tuple(segments))


def _generated(segment: Segment, engine: str, weight_version: int) -> Segment:
    teacher = None if segment.teacher is None else replace(segment.teacher, model=engine)
    return replace(segment, engine=engine, weight_version=weight_version, teacher=teacher)
