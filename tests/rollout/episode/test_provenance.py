"""The record says which engine generated a segment, with which weights, and whether its text was cut."""

from __future__ import annotations

from dataclasses import replace

from rollout.engine import Completion
from rollout.episode.provenance import with_provenance
from rollout.prompts.builder import Turn
from rollout.trajectory import Author, Kind, Segment, TopK, Truncation

TOP = TopK(((1,),), ((-0.1,),), (0.1,))
REASON = Segment(Kind.REASON, Author.MODEL, 1, "hm", (3,), (-0.5,), TOP)
ACT = Segment(Kind.ACT, Author.MODEL, 1, "go", (4,))
END = Segment(Kind.FORMAT, Author.TEMPLATE, 1, "<end>", (5,))
STOPPED = Completion((3, 4), None, "hm go", "stop", weight_version=7)


def test_segments_of_the_model_get_the_engine_and_its_weight_version() -> None:
    turn = with_provenance(Turn((REASON, ACT, END), "go"), STOPPED, "the teacher")
    assert turn == Turn(
        (
            replace(REASON, engine="the teacher", weight_version=7, teacher=replace(TOP, model="the teacher")),
            replace(ACT, engine="the teacher", weight_version=7),
            END,
        ),
        "go",
    )


def test_only_the_last_segment_of_the_model_is_cut_if_it_reached_the_token_limit() -> None:
    turn = with_provenance(Turn((REASON, ACT, END), "go"), replace(STOPPED, finish_reason="length"), "e")
    assert [segment.truncated for segment in turn.segments] == ["", Truncation.MAX_TOKENS, ""]


def test_a_turn_without_generated_tokens_is_not_changed() -> None:
    assert with_provenance(Turn((END,), None), replace(STOPPED, finish_reason="length"), "e") == Turn((END,), None)
