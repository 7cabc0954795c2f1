"""The scripted engine returns tokens like a model, and follows each episode by its prompts alone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine, start
from rollout.environment import Reset
from rollout.errors import UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Segment

RESET = Reset("You see a fridge 1.", "put a mug in fridge")
SAMPLING = Sampling(max_tokens=64)


class Echo:
    """Answers with the observation."""

    def __init__(self) -> None:
        self.observations: list[str] = []

    def respond(self, observation: str) -> str:
        self.observations.append(observation)
        return f"Thought: {len(self.observations)}\nAction: {observation}"


class EchoEngine(ScriptedEngine):
    """Runs `Echo` in each session."""

    def _policy(self, session_id: str) -> Echo:
        return Echo()


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def builder(tokenizer: Tokenizer) -> PromptBuilder:
    return PromptBuilder(tokenizer, ReActStyle("Be a help."))


@pytest.fixture
def echo(tokenizer: Tokenizer) -> EchoEngine:
    return EchoEngine(ScriptedConfig(tokenizer="-", replies=("-",)), tokenizer)


def ids(segments: list[Segment]) -> list[int]:
    return [token for segment in segments for token in segment.token_ids]


async def answer(engine: ScriptedEngine, builder: PromptBuilder, segments: list[Segment], session: str) -> str | None:
    """Generate one turn and append it to ``segments``."""
    turn = segments[-1].turn + 1
    segments += builder.open_turn(turn)
    made = builder.turn(await engine.generate(ids(segments), SAMPLING, session), turn)
    segments += made.segments
    return made.action


async def test_a_policy_receives_the_first_user_message_and_then_each_observation(
    echo: EchoEngine, builder: PromptBuilder
) -> None:
    segments = builder.start(RESET)
    observations = [await answer(echo, builder, segments, "a")]
    for observation in ("One é🙂.", "<|end|><|user|>", "Three."):
        segments += builder.observation(observation, segments[-1].turn)
        observations.append(await answer(echo, builder, segments, "a"))
    assert observations == ["You see a fridge 1.", "One é🙂.", "<|end|><|user|>", "Three."]
    first = echo._sessions["a"].policy
    assert isinstance(first, Echo)
    assert first.observations[0] == "You see a fridge 1.\nYour task is to: put a mug in fridge."


async def test_a_truncated_answer_does_not_affect_the_next_turn(echo: EchoEngine, builder: PromptBuilder) -> None:
    segments = builder.start(RESET) + builder.open_turn(1)
    cut = await echo.generate(ids(segments), Sampling(max_tokens=3), "a")
    assert (cut.finish_reason, len(cut.token_ids)) == ("length", 3)
    segments += [*builder.turn(cut, 1).segments, *builder.observation("Two.", 1)]
    assert await answer(echo, builder, segments, "a") == "Two."


async def test_sessions_do_not_mix(echo: EchoEngine, builder: PromptBuilder) -> None:
    a, b = builder.start(RESET), builder.start(Reset("You see a sink.", "wash"))
    await answer(echo, builder, a, "a")
    await answer(echo, builder, b, "b")
    a += builder.observation("A.", 1)
    b += builder.observation("B.", 1)
    assert await answer(echo, builder, b, "b") == "B."
    assert await answer(echo, builder, a, "a") == "A."


async def test_an_episode_that_restarts_gets_a_new_policy(echo: EchoEngine, builder: PromptBuilder) -> None:
    segments = builder.start(RESET)
    await answer(echo, builder, segments, "a")
    await answer(echo, builder, builder.start(RESET), "a")
    policy = echo._sessions["a"].policy
    assert isinstance(policy, Echo)
    assert len(policy.observations) == 1


async def test_replies_are_returned_in_order_and_the_last_is_repeated(model: str, builder: PromptBuilder) -> None:
    engine = await start(ScriptedConfig(tokenizer=model, replies=("Action: one", "Action: two")))
    segments = builder.start(RESET)
    answers = []
    for _ in range(3):
        answers.append(await answer(engine, builder, segments, "a"))
        segments += builder.observation("Hm.", segments[-1].turn)
    assert answers == ["one", "two", "two"]


async def test_without_a_model_there_are_no_log_probabilities_and_no_scores(
    echo: EchoEngine, builder: PromptBuilder
) -> None:
    prompt = ids(builder.start(RESET) + builder.open_turn(1))
    completion = await echo.generate(prompt, Sampling(max_tokens=64, top_logprobs=5), "a")
    assert (completion.logprobs, completion.top, completion.finish_reason) == (None, None, "stop")
    with pytest.raises(NotImplementedError, match="no distribution"):
        await echo.score(prompt, 1)


async def test_completions_have_the_current_weight_version(echo: EchoEngine, builder: PromptBuilder) -> None:
    await echo.load_weights("anywhere", 7)
    completion = await echo.generate(ids(builder.start(RESET) + builder.open_turn(1)), SAMPLING, "a")
    assert (echo.weight_version, completion.weight_version) == (7, 7)


async def test_a_prompt_without_a_generation_prompt_is_refused(echo: EchoEngine, builder: PromptBuilder) -> None:
    with pytest.raises(ValueError, match="generation prompt"):
        await echo.generate(ids(builder.start(RESET)), SAMPLING, "a")


async def test_policies_are_seeded_by_their_episode(model: str, builder: PromptBuilder) -> None:
    reset = Reset(
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a fridge 1, and a mug 1.",
        "put a mug in cabinet",
    )

    async def play(session: str) -> str | None:
        engine = await start(ScriptedConfig(tokenizer=model, policy="household-random"))
        return await answer(engine, builder, builder.start(reset), session)

    assert await play("a") == await play("a")
    assert len({await play(name) for name in "abcdefgh"}) > 1


async def test_an_unknown_policy_is_reported_with_the_known_ones(model: str) -> None:
    with pytest.raises(UserError, match="no policy 'wizard'; choose one of .*household-expert"):
        await start(ScriptedConfig(tokenizer=model, policy="wizard"))


@pytest.mark.parametrize("settings", [{}, {"policy": "household-expert", "replies": ("a",)}])
def test_a_script_is_a_policy_or_replies(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="set one of the two"):
        ScriptedConfig(tokenizer="-", **settings)
