"""Whose token each of the teacher's distributions belongs to, with and without hints, and what stays unscored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset, Task
from rollout.episode.guidance import Guidance, always
from rollout.episode.scoring import require_distributions, score_trajectory
from rollout.errors import UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Identity, Kind, Outcome, Policy, Segment, StopReason, TopK, Trajectory

EXAMPLE = "Once upon a time."


class Numbering(ScriptedEngine):
    """The distribution at a token is its place in what was scored."""

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
def played(builder: PromptBuilder) -> Trajectory:
    turns = [("Thought: I add.\nAction: add", "1"), ("Thought: Again.\nAction: add", "2")]
    return Trajectory(
        Identity("run", "student", 0, "count/1", 0, "counting", "train", "count"),
        Policy("m", 0, "react"),
        Outcome(1.0, True, StopReason.SUCCESS),
        tuple(builder.transcript(Reset("0", "count to 2"), turns)),
    )


def places(segments: Sequence[Segment]) -> list[int | None]:
    """Of each token, where the teacher saw it; None if it has no distribution."""
    rows = [s.teacher.token_ids if s.teacher else ((),) * len(s.token_ids) for s in segments]
    return [row[0] if row else None for part in rows for row in part]


async def test_every_token_has_the_distribution_that_predicts_it(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    made = await score_trajectory(played, Numbering(tokenizer), builder, 1)
    assert places(made.segments) == [None, *range(1, len(played.token_ids))], "and nothing predicts the first"
    assert all(segment.teacher is not None for segment in made.segments)
    assert made.token_ids == played.token_ids


async def test_with_hints_the_same_tokens_stand_further_back_and_the_hints_are_not_on_the_record(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    engine = Numbering(tokenizer)
    made = await score_trajectory(played, engine, builder, 1, always("Add."))
    hints = sum(len(segment.token_ids) for segment in builder.hints(["Add."]))
    assert made.token_ids == played.token_ids
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
        for token, place in zip(made.token_ids, places(made.segments), strict=True)
        if place is not None
    )
    moved = [place - i for i, place in enumerate(places(made.segments)) if place is not None]
    assert set(moved) == {0, hints}


async def test_hints_that_the_author_saw_are_taken_away_before_the_teacher_scores(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    turns = [("Thought: I add.\nAction: add", "1"), ("Thought: Again.\nAction: add", "2")]
    advised = builder.transcript(Reset("0", "count to 2"), turns, hints=["Do not."])
    engine = Numbering(tokenizer)
    made = await score_trajectory(replace(played, segments=tuple(advised)), engine, builder, 1)
    assert engine.seen == [played.token_ids]
    assert not [segment for segment in made.segments if segment.kind is Kind.HINT]


async def test_a_guide_is_told_the_task_and_what_was_seen_first(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    asked = []

    async def guide(task: Task, reset: Reset) -> Guidance:
        asked.append((task.id, task.task_type, reset.observation, "count to 2" in reset.instruction))
        return Guidance()

    await score_trajectory(played, Numbering(tokenizer), builder, 1, guide)
    assert asked == [("count/1", "count", "0", True)]


async def test_what_is_beyond_the_context_is_never_scored(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    made = await score_trajectory(played, Numbering(tokenizer, max_model_len=len(played.token_ids) - 1), builder, 1)
    assert made.segments[-1].teacher is None
    assert made.segments[-2].teacher is not None


async def test_an_engine_that_cannot_score_leaves_the_play_as_it_was_and_says_so(
    played: Trajectory, builder: PromptBuilder, tokenizer: Tokenizer
) -> None:
    made = await score_trajectory(
        played, ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("",)), tokenizer), builder, 1
    )
    assert made.segments == played.segments
    assert (made.outcome.success, made.outcome.stop_reason) == (True, StopReason.SUCCESS)
    assert made.outcome.failure is not None
    assert (made.outcome.failure.boundary, made.outcome.failure.type) == ("engine", "NotImplementedError")


async def test_a_teacher_without_distributions_is_refused_before_anything_is_played(tokenizer: Tokenizer) -> None:
    script, prompt = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("a",)), tokenizer), tokenizer.encode("Hello")
    for needed in ({"written": 4, "scored": 0}, {"written": 0, "scored": 4}):
        with pytest.raises(UserError, match="its engine does not give them.*recipes imitation and agent-distillation"):
            await require_distributions(script, prompt, **needed)
    await require_distributions(script, prompt, written=0, scored=0)
    await require_distributions(Numbering(tokenizer), prompt, written=0, scored=4)
