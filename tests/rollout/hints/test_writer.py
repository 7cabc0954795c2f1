"""From failed episodes to a bank: the prompt of the model, its answers, and the handling of unusable answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from rollout.engine import Completion, Engine, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environments.hints import hint_rules
from rollout.errors import UserError
from rollout.hints.chat import ChatSession
from rollout.hints.config import HintConfig, ModelWriter
from rollout.hints.writer import EpisodeHints, build_bank, summarize, transcript, write_hints
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.turns import completed_turns
from tests.rollout.hints.episodes import ROOM, episode, visit

MakeChatSession = Callable[..., ChatSession]
BY_MODEL = HintConfig(writer=ModelWriter(retries=2))
GOOD = json.dumps({"hints": [{"env_type": "whatever", "text": "open the cabinet 1 first"}]})
TO_SHELF = ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a mug 2.")
FAILED = episode(ROOM, "put a mug in countertop", TO_SHELF)


class Recorder:
    """A scripted engine that records its prompts."""

    def __init__(self, tokenizer: Tokenizer, *replies: str, max_model_len: int = 32768) -> None:
        self._engine = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=replies), tokenizer)
        self._tokenizer = tokenizer
        self.name, self.weight_version, self.max_model_len = "recorder", 0, max_model_len
        self.prompts: list[str] = []
        self.lengths: list[int] = []
        self.score, self.load_weights, self.close = self._engine.score, self._engine.load_weights, self._engine.close

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        self.prompts.append(self._tokenizer.decode(token_ids))
        self.lengths.append(len(token_ids))
        return await self._engine.generate(token_ids, sampling, session_id)


class Broken(Recorder):
    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        raise OSError("the engine fell down")


async def write(chat: ChatSession, config: HintConfig = BY_MODEL, failed_episodes: Trajectory = FAILED) -> EpisodeHints:
    (result,) = await write_hints([failed_episodes], config, chat, rules=hint_rules)
    return result


async def test_a_good_answer_becomes_hints_of_the_episodes_own_type_without_its_names(
    scripted_chat: MakeChatSession,
) -> None:
    result = await write(scripted_chat(f"Sure:\n```json\n{GOOD}\n```"))
    (hint,) = result.hints
    assert (hint.text, hint.category) == ("Open the {container} first.", "pick_and_place_simple")
    assert (hint.source, hint.made_from, hint.frequency) == ("household", ("task 1",), 1)
    assert (result.answers, result.failure) == (1, None)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "I would open it.",
        '{"hints": []}',
        '{"hints": [{"text": "Open it."}]}',
        '{"hints": [{"env_type": "", "text": "Open it.", "why": ""}]}',
        '{"hints": [{"env_type": "", "text": ""}]}',
        '{"hints": [{"env_type": "", "text": "Use {tool}."}]}',
        json.dumps({"hints": [{"env_type": "", "text": "x" * 200}]}),
    ],
)
async def test_an_unusable_answer_is_requested_again_and_finally_recorded_as_a_failure(
    scripted_chat: MakeChatSession, bad: str
) -> None:
    fixed = await write(scripted_chat(bad, GOOD))
    assert (len(fixed.hints), fixed.answers, fixed.failure) == (1, 2, None)
    given_up = await write(scripted_chat(bad))
    assert (given_up.hints, given_up.answers) == ((), 3)
    assert given_up.failure is not None
    assert (given_up.failure.boundary, given_up.failure.type) == ("parser", "UnusableAnswer")
    assert summarize([fixed, given_up]) == {
        "episodes": 2,
        "without_hints": 1,
        "given_up": 1,
        "hints": 1,
        "answers": 5,
    }


async def test_valid_hints_of_a_partly_invalid_answer_are_kept(scripted_chat: MakeChatSession) -> None:
    texts = ["Look first.", "x" * 200, "Look first.", "Search.", "Beyond the limit."]
    half = json.dumps({"hints": [{"env_type": "", "text": text} for text in texts]})
    result = await write(scripted_chat(half))
    assert [hint.text for hint in result.hints] == ["Look first.", "Search."]
    assert (result.answers, result.failure) == (3, None)


async def test_the_model_reads_the_episode_and_why_its_answer_was_rejected(
    tokenizer: Tokenizer,
) -> None:
    engine: Engine = (recorder := Recorder(tokenizer, "no", GOOD))
    await write(ChatSession(engine, tokenizer, "You advise."))
    first, second = recorder.prompts
    for shown in ("put a mug in countertop", "go to shelf 1", "a mug 2", "pick_and_place_simple", "{object}", "1 to 4"):
        assert shown in first
    assert "secret" not in first
    assert second.startswith(first)
    assert "cannot be used" in second


async def test_a_long_episode_is_shortened_in_the_middle_until_it_fits(tokenizer: Tokenizer) -> None:
    turns = [(f"go to shelf {n}", "You arrive. " * 8) for n in range(40)]
    recorder = Recorder(tokenizer, GOOD, max_model_len=2500)
    config = HintConfig(writer=ModelWriter(retries=1, sampling=Sampling(max_tokens=100)))
    result = await write(
        ChatSession(recorder, tokenizer, "You advise."), config, episode(ROOM, "put a mug in shelf", *turns)
    )
    assert len(result.hints) == 1
    assert recorder.lengths[0] + 100 <= 2500
    assert "shelf 0\n" in recorder.prompts[0]
    assert "shelf 39\n" in recorder.prompts[0]
    assert "shelf 20\n" not in recorder.prompts[0]


def test_a_shortened_transcript_marks_omitted_turns() -> None:
    turns = completed_turns(episode(ROOM, "put a mug in shelf", *[("look", f"Answer {n}") for n in range(1, 7)]))
    text = transcript("A room.", turns, 3)
    assert [number for number in range(1, 7) if f"Turn {number}\n" in text] == [1, 5, 6]
    assert text.count("(...)") == 1
    assert "(...)" not in transcript("A room.", turns, 6)
    assert len(transcript("x" * 9000, turns, 0)) < 1200


async def test_a_failing_engine_or_a_full_context_is_recorded_as_a_failure(tokenizer: Tokenizer) -> None:
    for engine, kind in [
        (Broken(tokenizer, "-"), "OSError"),
        (Recorder(tokenizer, GOOD, max_model_len=50), "PromptTooLong"),
    ]:
        result = await write(ChatSession(engine, tokenizer, "You advise."))
        assert result.failure is not None
        assert (result.failure.boundary, result.failure.type) == ("engine", kind)


async def test_a_hanging_engine_is_recorded_as_a_failure(tokenizer: Tokenizer) -> None:
    class Hanging(Recorder):
        async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
            await asyncio.sleep(3600)
            raise AssertionError

    config = HintConfig(writer=ModelWriter(timeout_s=0.01))
    result = await write(ChatSession(Hanging(tokenizer, "-"), tokenizer, "You advise."), config)
    assert result.failure is not None
    assert result.failure.type == "TimeoutError"


async def test_results_keep_the_order_of_episodes_and_skip_those_that_the_agent_did_not_fail() -> None:
    stops = [StopReason.STEP_LIMIT, StopReason.SUCCESS, StopReason.ERROR, StopReason.FAILURE]
    episodes = [
        episode(ROOM, "put a mug in shelf", (None, "-"), task=f"{n}", stop=stop) for n, stop in enumerate(stops)
    ]
    assert [result.task for result in await write_hints(iter(episodes), HintConfig(), rules=hint_rules)] == ["0", "3"]


async def test_a_missing_model_is_reported() -> None:
    with pytest.raises(UserError, match="no model is available"):
        await write_hints([FAILED], BY_MODEL)


async def test_the_bank_counts_episodes_and_lists_the_locations_of_most_targets() -> None:
    to_sink = ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see a mug 1.")
    goal = "put a mug in countertop"
    failed_episodes = [
        episode(ROOM, goal, to_sink, TO_SHELF, task="a"),
        episode(ROOM, goal, TO_SHELF, task="b"),
        episode(ROOM, goal, task="c"),
        visit("find a coffee mug that is light", ("click[buy now]", "?"), scores={"type": 1.0}),
    ]
    bank = build_bank(await write_hints(failed_episodes, HintConfig(), rules=hint_rules), HintConfig(), hint_rules)
    household = {hint.text: (hint.frequency, hint.made_from) for hint in bank.in_category("pick_and_place_simple")}
    assert household["Take the {object} as soon as you see it."] == (2, ("a", "b"))
    assert household["Look for the {object} in/on the shelf, the sinkbasin."] == (2, ())
    assert [hint.source for hint in bank.in_category("kitchen")][:1] == ["webshop"]
