"""The conversion of trajectories to Arrow and back is lossless."""

from __future__ import annotations

import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.trajectory import (
    SCHEMA_VERSION,
    Author,
    Cause,
    Counts,
    Failure,
    Identity,
    Kind,
    Origin,
    Outcome,
    Policy,
    Relation,
    Segment,
    StopReason,
    Times,
    TopK,
    Trajectory,
    Truncation,
)
from rollout.trajectory.arrow import (
    KEY_COLUMNS,
    SUMMARY_COLUMNS,
    VERSION_METADATA,
    from_table,
    table_keys,
    to_table,
    trajectory_schema,
)

TEXT = st.text(max_size=6)
COUNT = st.integers(0, 2**40)
SECONDS = st.floats(allow_nan=False)
TOKEN = st.integers(0, 2**31 - 1)
LOGPROB = st.floats(max_value=0.0, allow_nan=False, width=32)


@st.composite
def top_ks(draw: st.DrawFn, num_tokens: int) -> TopK:
    rows = draw(
        st.lists(st.lists(st.tuples(TOKEN, LOGPROB), max_size=3), min_size=num_tokens, max_size=num_tokens),
    )
    tail = draw(st.lists(st.floats(0.0, 1.0, width=32), min_size=num_tokens, max_size=num_tokens))
    return TopK(
        tuple(tuple(token for token, _ in row) for row in rows),
        tuple(tuple(logprob for _, logprob in row) for row in rows),
        tuple(tail),
        draw(TEXT),
    )


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    tokens = tuple(draw(st.lists(TOKEN, max_size=4)))
    logprobs = st.lists(LOGPROB, min_size=len(tokens), max_size=len(tokens)).map(tuple)
    return Segment(
        draw(st.sampled_from(Kind)),
        draw(st.sampled_from(Author)),
        draw(st.integers(0, 1000)),
        draw(TEXT),
        tokens,
        draw(st.none() | logprobs),
        draw(st.none() | top_ks(len(tokens))),
        draw(TEXT),
        draw(st.none() | COUNT),
        draw(st.sampled_from(Truncation)),
        draw(COUNT),
        draw(st.none() | st.builds(Origin, st.sampled_from(Relation), TEXT)),
    )


TRAJECTORIES = st.builds(
    Trajectory,
    st.builds(Identity, TEXT, TEXT, COUNT, TEXT, COUNT, TEXT, TEXT, TEXT, TEXT),
    st.builds(Policy, TEXT, COUNT, TEXT, TEXT, TEXT, TEXT),
    st.builds(
        Outcome,
        st.floats(allow_nan=False),
        st.booleans(),
        st.sampled_from(StopReason),
        st.none() | st.builds(Failure, TEXT, TEXT, TEXT, st.sampled_from(Cause)),
        st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3),
        COUNT,
    ),
    st.lists(segments(), max_size=3).map(tuple),
    st.builds(Counts, COUNT, COUNT, COUNT, COUNT, COUNT),
    st.builds(Times, SECONDS, SECONDS, SECONDS, SECONDS),
)


def trajectory(*parts: Segment) -> Trajectory:
    return Trajectory(
        Identity("run", "teacher", 0, "task", 0, "household", "train"),
        Policy("model", 0, "react"),
        Outcome(0.0, False, StopReason.STEP_LIMIT),
        parts,
    )


def acted(logprobs: tuple[float, ...] | None = None, teacher: TopK | None = None, num_tokens: int = 1) -> Segment:
    return Segment(Kind.ACT, Author.MODEL, 1, "go", (7,) * num_tokens, logprobs, teacher)


def through_parquet(table: pa.Table) -> pa.Table:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    return pq.read_table(pa.BufferReader(stream.getvalue()))


def round_trip(*written: Trajectory) -> list[Trajectory]:
    return list(from_table(through_parquet(to_table(written))))


@settings(deadline=None, max_examples=50)
@given(st.lists(TRAJECTORIES, max_size=2))
def test_what_is_read_equals_what_was_written_field_by_field(written: list[Trajectory]) -> None:
    assert round_trip(*written) == written


@settings(deadline=None, max_examples=10)
@given(st.lists(TRAJECTORIES, min_size=3, max_size=3))
def test_a_slice_of_a_table_contains_only_its_own_episodes(written: list[Trajectory]) -> None:
    assert list(from_table(to_table(written).slice(1, 2))) == written[1:3]


def test_a_table_of_many_chunks_is_read_in_order() -> None:
    written = [replace(trajectory(acted()), version=version) for version in (1, 2, 3)]
    assert list(from_table(pa.concat_tables([to_table([one]) for one in written]))) == written


def test_never_scored_differs_from_scored_with_empty_rows() -> None:
    never, empty_rows = acted(teacher=None), acted(teacher=TopK(((),), ((),), (1.0,)))
    no_tokens = (acted((), TopK((), (), ()), num_tokens=0), acted(None, None, num_tokens=0))
    [read] = round_trip(trajectory(never, empty_rows, *no_tokens))
    assert [segment.teacher for segment in read.segments] == [
        None,
        TopK(((),), ((),), (1.0,)),
        TopK((), (), ()),
        None,
    ]
    assert [segment.logprobs for segment in read.segments] == [None, None, (), None]


def test_log_probabilities_of_minus_infinity_and_zero_differ_from_none() -> None:
    [read] = round_trip(trajectory(acted((-math.inf, 0.0, -0.1), num_tokens=3), acted(None, num_tokens=3)))
    assert read == trajectory(acted((-math.inf, 0.0, -0.1), num_tokens=3), acted(None, num_tokens=3))
    assert read.segments[0].logprobs[:2] == (-math.inf, 0.0)
    assert read.segments[1].logprobs is None


def test_enumerations_are_restored() -> None:
    [read] = round_trip(trajectory(acted()))
    assert type(read.outcome.stop_reason) is StopReason
    assert (type(read.segments[0].kind), type(read.segments[0].author)) == (Kind, Author)


def test_numbers_have_the_widths_that_the_learner_expects() -> None:
    segment = trajectory_schema().field("segments").type.value_type
    assert segment.field("token_ids").type.value_type == pa.int32()
    assert segment.field("logprobs").type.value_type == pa.float32()
    assert segment.field("teacher_logprobs").type.value_type.value_type == pa.float32()


def test_the_schema_metadata_contains_the_version() -> None:
    assert through_parquet(to_table([])).schema.metadata[VERSION_METADATA] == str(SCHEMA_VERSION).encode()


def test_without_the_segment_column_an_episode_has_everything_except_segments() -> None:
    written = trajectory(acted())
    [read] = from_table(to_table([written]).select(SUMMARY_COLUMNS))
    assert read == replace(written, segments=())


def test_keys_need_only_the_key_columns() -> None:
    stream = pa.BufferOutputStream()
    pq.write_table(to_table([trajectory()]), stream)
    table = pq.ParquetFile(pa.BufferReader(stream.getvalue())).read(columns=list(KEY_COLUMNS))
    assert table_keys(table) == [trajectory().key]


def test_a_token_id_that_does_not_fit_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="2147483648"):
        to_table([trajectory(Segment(Kind.ACT, Author.MODEL, 1, "", (2**31,)))])


def test_a_text_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        to_table([trajectory(Segment(Kind.ACT, Author.MODEL, 1, "\ud800", ()))])
