"""Weights depend on provenance only, entry 0 never has weight, and teacher rows stay aligned with their tokens.

Dropped segments leave no token in the sequence, and all other tokens keep their order.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.data.streams import TeacherScores, to_sequence
from learner.terms import STREAMS
from rollout.trajectory import Author, Kind, Segment, TopK, Trajectory
from tests.learner.toys import toy_trajectory


def with_segments(*segments: Segment) -> Trajectory:
    base = toy_trajectory(0)
    return Trajectory(base.identity, base.policy, base.outcome, segments)


def scored_act(token_ids: tuple[int, ...], scores: TopK) -> TeacherScores:
    teacher = to_sequence(with_segments(Segment(Kind.ACT, Author.MODEL, 1, "", token_ids, teacher=scores)), []).teacher
    assert teacher is not None
    return teacher


def spans(trajectory: Trajectory, stream: str) -> list[int]:
    return [int(i) for i in np.flatnonzero(to_sequence(trajectory, [stream]).weights[stream])]


EPISODE = with_segments(
    Segment(Kind.SYSTEM, Author.PROMPT, 0, "", (1, 2)),
    Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 0, "", (3,)),
    Segment(Kind.FORMAT, Author.TEMPLATE, 1, "", (4,)),
    Segment(Kind.PREFIX, Author.TEACHER, 1, "", (5,)),
    Segment(Kind.REASON, Author.MODEL, 1, "", (6, 7)),
    Segment(Kind.FORMAT, Author.MODEL, 1, "", (8,)),
    Segment(Kind.ACT, Author.MODEL, 1, "", (9,)),
    Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 1, "", (10, 11)),
)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("reason", [5, 6]),
        ("act", [8]),
        ("format", [7]),
        ("observation", [2, 9, 10]),
        ("prefix", [4]),
        ("generated", [5, 6, 7, 8]),
        ("assistant", [4, 5, 6, 7, 8]),
        ("system", [1]),
        ("all", list(range(1, 11))),
    ],
)
def test_a_stream_selects_tokens_by_provenance(stream: str, expected: list[int]) -> None:
    """``format`` excludes the chat template's tokens, and the first token of a sequence is never a target."""
    assert spans(EPISODE, stream) == expected


def test_prefix_tokens_are_only_in_the_prefix_assistant_and_all_streams() -> None:
    prefixed = {stream for stream in STREAMS if stream != "random" and 4 in spans(EPISODE, stream)}
    assert prefixed == {"prefix", "assistant", "all"}


def test_trailing_text_is_removed_and_not_trained_unless_its_stream_is_asked_for() -> None:
    """The end of turn follows the action directly, where the model is to learn it."""
    episode = with_segments(
        Segment(Kind.TASK, Author.PROMPT, 0, "", (1,)),
        Segment(Kind.ACT, Author.MODEL, 1, "", (2, 3)),
        Segment(Kind.TRAILING, Author.MODEL, 1, "", (4, 5)),
        Segment(Kind.FORMAT, Author.MODEL, 1, "", (6,)),
        Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 1, "", (7,)),
    )
    for stream in STREAMS:
        sequence = to_sequence(episode, [stream, f"{stream}/span_mean"])
        trailing = stream == "trailing"
        assert sequence.token_ids.tolist() == [1, 2, 3, *([4, 5] if trailing else []), 6, 7]
        if trailing:
            assert sequence.weights[stream].tolist() == [0, 0, 0, 1, 1, 0, 0]
            assert sequence.weights["trailing/span_mean"].tolist() == [0, 0, 0, 0.5, 0.5, 0, 0]
    both = to_sequence(episode, ["generated", "trailing"])
    assert both.weights["generated"].tolist() == [0, 1, 1, 0, 0, 1, 0]


def test_span_means_give_each_kind_in_each_turn_equal_weight() -> None:
    """In turn 1 the reason is split by an act but is one span; truncated tokens at the end do not count."""
    episode = with_segments(
        Segment(Kind.TASK, Author.PROMPT, 0, "", (1,)),
        Segment(Kind.REASON, Author.MODEL, 1, "", (2,)),
        Segment(Kind.ACT, Author.MODEL, 1, "", (3,)),
        Segment(Kind.REASON, Author.MODEL, 1, "", (4, 5)),
        Segment(Kind.OBSERVATION, Author.ENVIRONMENT, 1, "", (6,)),
        Segment(Kind.REASON, Author.MODEL, 2, "", (7, 8)),
        Segment(Kind.ACT, Author.MODEL, 2, "", (9, 9, 9)),
    )
    sequence = to_sequence(episode, ["reason/span_mean", "act/span_mean", "generated/span_mean"], max_tokens=9)
    third = 1 / 3
    assert sequence.weights["reason/span_mean"].tolist() == pytest.approx([0, third, 0, third, third, 0, 0.5, 0.5, 0])
    assert sequence.weights["act/span_mean"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 1]
    both = sequence.weights["reason/span_mean"] + sequence.weights["act/span_mean"]
    assert np.array_equal(sequence.weights["generated/span_mean"], both)


def random_tokens(seed: int, *, episode: int = 0) -> list[int]:
    sequence = to_sequence(toy_trajectory(episode, turns=4), ["random"], seed=seed)
    return np.flatnonzero(sequence.weights["random"]).tolist()


def test_the_random_stream_has_as_many_tokens_as_reason_and_act_and_excludes_the_prompt() -> None:
    episode = toy_trajectory(0, turns=4)
    prompt = sum(len(s.token_ids) for s in episode.segments if s.turn == 0)
    chosen = random_tokens(0)
    assert len(set(chosen)) == len(chosen) == episode.num_tokens(Kind.REASON, Kind.ACT)
    assert min(chosen) >= prompt
    drawn = {at for seed in range(40) for at in random_tokens(seed)}
    assert drawn == set(range(prompt, len(episode.token_ids)))


def test_random_tokens_are_equal_in_another_process_and_depend_on_seed_and_episode() -> None:
    code = "from tests.learner.data.test_streams import random_tokens; print(random_tokens(3))"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(random_tokens(3))
    assert random_tokens(3) != random_tokens(4)
    one = toy_trajectory(0, turns=4)
    renamed = dataclasses.replace(one, identity=dataclasses.replace(one.identity, attempt=1))
    first, second = (to_sequence(t, ["random"], seed=3).weights["random"] for t in (one, renamed))
    assert not np.array_equal(first, second)


@st.composite
def records(draw: st.DrawFn) -> Trajectory:
    """Segments in any order; every token id is unique."""
    kinds = draw(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=20))
    segments, used = [], 0
    for kind in kinds:
        length = draw(st.integers(1, 4))
        author = draw(st.sampled_from(list(Author)))
        segments.append(Segment(kind, author, draw(st.integers(0, 3)), "", tuple(range(used, used + length))))
        used += length
    return with_segments(*segments)


@given(records())
def test_dropped_hints_and_examples_leave_no_token_and_all_others_keep_their_order(
    record: Trajectory,
) -> None:
    view = to_sequence(record, ["all", "trailing"], drop=("hint", "example"))
    kept = [s for s in record.segments if s.kind not in (Kind.HINT, Kind.EXAMPLE)]
    assert view.token_ids.tolist() == [token for segment in kept for token in segment.token_ids]
    assert view.weights["all"].tolist() == [float(at > 0) for at in range(len(view))]


def test_every_stream_that_a_config_accepts_can_be_built() -> None:
    sequence = to_sequence(EPISODE, STREAMS)
    assert set(sequence.weights) == set(STREAMS)
    assert all(weight.shape == (len(sequence),) for weight in sequence.weights.values())


def test_token_ids_are_those_of_the_trajectory_as_32_bit_integers() -> None:
    sequence = to_sequence(EPISODE, ["all"])
    assert sequence.token_ids.dtype == np.int32
    assert tuple(sequence.token_ids.tolist()) == EPISODE.token_ids
    assert (sequence.reason_tokens, sequence.act_tokens) == (2, 1)


def test_dropping_hints_keeps_the_teacher_scores_aligned() -> None:
    hinted = to_sequence(toy_trajectory(3, hint=True, k=4), ["reason"], drop=("hint",))
    assert len(hinted) == len(toy_trajectory(3, hint=True).token_ids) - 5
    assert hinted.teacher is not None
    kept = [s for s in toy_trajectory(3, hint=True, k=4).segments if s.kind is not Kind.HINT]
    scored = [i for i, s in enumerate(t for s in kept for t in [s] * len(s.token_ids)) if s.teacher is not None]
    assert hinted.teacher.positions.tolist() == scored
    taken_first = hinted.teacher.token_ids[:, 0]  # toy scores put the taken token first
    assert np.array_equal(hinted.token_ids[hinted.teacher.positions], taken_first)


def test_short_teacher_rows_are_padded_with_their_first_id_and_minus_infinity() -> None:
    scores = TopK(((7, 8, 9), (4,)), ((-1.0, -2.0, -3.0), (-0.25,)), (0.1, 0.2))
    teacher = scored_act((1, 2), scores)
    assert teacher.token_ids.tolist() == [[7, 8, 9], [4, 4, 4]]
    assert teacher.logprobs.tolist() == [[-1.0, -2.0, -3.0], [-0.25, -math.inf, -math.inf]]


def test_teacher_entries_of_probability_zero_are_removed() -> None:
    scores = TopK(((7, 8),), ((-0.5, -math.inf),), (0.4,))
    teacher = scored_act((1,), scores)
    assert teacher.token_ids.tolist() == [[7]]


def test_a_long_episode_is_truncated_in_every_array() -> None:
    cut = to_sequence(toy_trajectory(1, turns=5, k=3), ["act", "all"], max_tokens=30)
    assert len(cut) == 30
    assert all(len(weight) == 30 for weight in cut.weights.values())
    assert cut.teacher is not None
    assert cut.teacher.positions.max() < 30


def test_an_episode_without_scores_has_no_teacher() -> None:
    assert to_sequence(toy_trajectory(0), ["act"]).teacher is None
