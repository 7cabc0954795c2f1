"""Scoring: the token of each distribution of the teacher, with and without hints, and unscored segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset, Task
from rollout.episode.guidance import Guidance, constant_guidance
from rollout.episode.scoring import check_distributions, score_trajectory
from rollout.errors import UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Identity, Kind, Outcome, Policy, Segment, StopReason, TopK, Trajectory

EXAMPLE = "Once upon a time."


class PositionEngine(ScriptedEngine):
    """The distribution of a token encodes its position in the scored sequence."""

    def __init__(self, tokenizer: Tokenizer, max_model_len: int = 4096) -> None:
        super().__init__(ScriptedConfig(tokenizer="-", replies=("",), max_model_len=max_model_len), tokenizer)
        self.seen: list[tuple[int, ...]] = []

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        self.seen.append(tuple(token_ids))
        places = range(len(token_ids))
        rows = [((i,), (-0.5,), 0.25) if i else ((), (), 1.0) for i in places]
        ids, logprobs, tail = zip(*rows, strict=True)
        return TopK(ids, logprobs, tail)


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def builder(tokenizer: Tokenizer) -> PromptBuilder:
    return PromptBuilder(tokenizer, ReActStyle("Count.", (EXAMPLE,)))


@pytest.fixture
def record(builder: PromptBuilder) -> Trajectory:
    turns = [("Thought: I add.\nAction: add", "1"), ("Thought: Again.\nAction: add", "2")]
    return Trajectory(
        Identity("run", "student", 0, "count/1", 0, "counting", "train", "count"),
        Policy("m", 0, "react"),
        Outcome(1.0, True, StopReason.SUCCESS),
        tuple(builder.transcript(Reset("0", "count to 2"), turns)),
    )


def places(segments: Sequence[Segment]) -> list[int | None]:
    """Position of each token in the teacher's sequence; None if the token has no distribution."""
    rows = [s.teacher.token_ids if s.teacher else ((),) * len(s.token_ids) for s in segments]
    return [row[0] if row else None for part in rows for row in part]


async def test_every_token_has_the_distribution_that_predicts_it(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    scored = await score_trajectory(record, PositionEngine(tokenizer), builder, 1)
    assert places(scored.segments) == [None, *range(1, len(record.token_ids))], "and nothing predicts the first"
    assert {segment.teacher and segment.teacher.model for segment in scored.segments} == {"scripted:replies"}
    assert scored.token_ids == record.token_ids


async def test_hints_shift_the_positions_of_later_tokens_and_are_not_recorded(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    engine = PositionEngine(tokenizer)
    scored = await score_trajectory(record, engine, builder, 1, constant_guidance("Add."))
    hints = sum(len(segment.token_ids) for segment in builder.hints(["Add."]))
    assert scored.token_ids == record.token_ids
    (view,) = engine.seen
    assert view == tuple(
        token
        for segment in builder.transcript(
            Reset("0", "count to 2"),
            [("Thought: I add.\nAction: add", "1"), ("Thought: Again.\nAction: add", "2")],
            hints=["Add."],
        )
        for token in segment.token_ids
    )
    assert all(
        view[place] == token
        for token, place in zip(scored.token_ids, places(scored.segments), strict=True)
        if place is not None
    )
    moved = [place - i for i, place in enumerate(places(scored.segments)) if place is not None]
    assert set(moved) == {0, hints}


async def test_hints_of_the_episode_are_removed_before_the_teacher_scores(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    turns = [("Thought: I add.\nAction: add", "1"), ("Thought: Again.\nAction: add", "2")]
    advised = builder.transcript(Reset("0", "count to 2"), turns, hints=["Do not."])
    engine = PositionEngine(tokenizer)
    scored = await score_trajectory(replace(record, segments=tuple(advised)), engine, builder, 1)
    assert engine.seen == [record.token_ids]
    assert not [segment for segment in scored.segments if segment.kind is Kind.HINT]


async def test_a_guide_receives_the_task_and_the_first_observation(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    asked = []

    async def guide(task: Task, reset: Reset) -> Guidance:
        asked.append((task.id, task.task_type, reset.observation, "count to 2" in reset.instruction))
        return Guidance()

    await score_trajectory(record, PositionEngine(tokenizer), builder, 1, guide)
    assert asked == [("count/1", "count", "0", True)]


async def test_segments_beyond_the_context_are_not_scored(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    scored = await score_trajectory(
        record, PositionEngine(tokenizer, max_model_len=len(record.token_ids) - 1), builder, 1
    )
    assert scored.segments[-1].teacher is None
    assert scored.segments[-2].teacher is not None


async def test_a_failure_to_score_is_recorded_and_leaves_the_episode_unchanged(
    record: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    scored = await score_trajectory(
        record, ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("",)), tokenizer), builder, 1
    )
    assert scored.segments == record.segments
    assert (scored.outcome.success, scored.outcome.stop_reason) == (True, StopReason.SUCCESS)
    assert scored.outcome.failure is not None
    assert (scored.outcome.failure.boundary, scored.outcome.failure.type) == ("engine", "NotImplementedError")


async def test_a_teacher_without_distributions_is_refused(tokenizer: Tokenizer) -> None:
    script, prompt = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("a",)), tokenizer), tokenizer.encode("Hello")
    for needed in ({"written": 4, "scored": 0}, {"written": 0, "scored": 4}):
        with pytest.raises(UserError, match="engine does not return them.*recipes imitation and agent-distillation"):
            await check_distributions(script, prompt, **needed)
    assert await check_distributions(script, prompt, written=0, scored=0) is None
