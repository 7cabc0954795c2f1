"""The agent loop: what ends an episode, what is counted, and that failures are recorded."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rollout.engine import Completion, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset, Step, Task
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode, turn_seed
from rollout.episode.guidance import Guidance, constant_guidance
from rollout.errors import UserError
from rollout.prompts.act import ActStyle
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import (
    Author,
    Cause,
    Failure,
    Identity,
    Key,
    Kind,
    StopReason,
    TopK,
    Trajectory,
    is_owed,
)
from tests.waiting import wait_in_loop

TASK = Task("counting/train/1", "counting", "train", "count", {"goal": 3})
IDENTITY = Identity("run", "teacher", 0, TASK.id, 0, "counting", "train", "count")
ADD = "Thought: one more\nAction: add"
CONFIG = AgentConfig(max_steps=6, max_tokens=2000, time_limit_s=30, step_timeout_s=10, sampling=Sampling(max_tokens=40))


class RecordingEngine(ScriptedEngine):
    """Records its prompts, and returns its replies also after a first thought."""

    def __init__(self, config: ScriptedConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.prompts: list[tuple[int, ...]] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        self.prompts.append(tuple(token_ids))
        reply = self._config.replies[min(len(self.prompts), len(self._config.replies)) - 1]
        record = (*self._tokenizer.encode(reply), *self._end_of_turn)
        return Completion(record, None, reply, "stop")


class Counting:
    """The action ``add`` counts up to the goal. Other verbs trigger failures of the environment."""

    def __init__(self, blocking: bool = False) -> None:
        self.blocking = blocking
        self.count = 0
        self.goal = 0
        self.released = threading.Event()

    def reset(self, task: Task) -> Reset:
        goal = task.payload["goal"]
        if not isinstance(goal, int):
            raise ValueError(f"the goal of {task.id} is no number")
        self.count, self.goal = 0, goal
        return Reset("The count is 0.", f"count to {goal}")

    def step(self, action: str) -> Step:
        if action == "crash":
            raise OSError("the counter fell down")
        if action == "hang":
            self.released.wait(20)
        if action == "give up":
            return Step("You lose.", reward=-1.0, done=True)
        if action != "add":
            return Step("Nothing happens.", valid=False)
        self.count += 1
        won = self.count >= self.goal
        scores = {"count": float(self.count)} | ({"first": 1.0} if self.count == 1 else {})
        return Step(f"The count is {self.count}.", reward=0.5, done=won, success=won, dialect="plain", scores=scores)

    def admissible_actions(self) -> Sequence[str] | None:
        return ["add", "give up"]

    def close(self) -> None:
        self.released.set()


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def builder(tokenizer: Tokenizer) -> PromptBuilder:
    return PromptBuilder(tokenizer, ReActStyle("Count."))


Run = Callable[..., Any]


@pytest.fixture
def run(tokenizer: Tokenizer, builder: PromptBuilder) -> Run:
    async def run(*replies: str, config: AgentConfig = CONFIG, task: Task = TASK, **options: Any) -> Trajectory:
        environment = options.get("environment") or Counting()
        settings = ScriptedConfig(tokenizer="-", replies=replies or (ADD,), **options.get("engine_settings", {}))
        engine = options.get("engine") or ScriptedEngine(settings, tokenizer)
        return await run_episode(
            task,
            environment,
            engine,
            builder,
            config,
            options.get("identity", IDENTITY),
            guide=options.get("guide"),
        )

    return run


async def test_a_solved_task(run: Run, builder: PromptBuilder) -> None:
    record: Trajectory = await run()
    assert record.outcome.success
    assert (record.outcome.stop_reason, record.outcome.reward, record.outcome.failure) == (
        StopReason.SUCCESS,
        1.5,
        None,
    )
    turns = [(ADD, f"The count is {n}.") for n in (1, 2, 3)]
    made = {"engine": "scripted:replies", "weight_version": 0}
    expected = builder.transcript(Reset("The count is 0.", "count to 3"), turns)
    assert list(record.segments) == [replace(s, **made) if s.author is Author.MODEL else s for s in expected]
    assert record.identity == replace(IDENTITY, dialect="plain")


async def test_the_last_value_of_each_score_is_recorded(run: Run) -> None:
    record: Trajectory = await run()
    assert record.outcome.scores == {"count": 3.0, "first": 1.0}


async def test_tokens_and_steps_of_an_episode_are_counted(run: Run) -> None:
    record: Trajectory = await run()
    tokens_before = [
        sum(len(s.token_ids) for s in record.segments[: i + 1])
        for i, s in enumerate(record.segments)
        if s.text == "<|assistant|>"
    ]
    assert record.counts.prompt_tokens == sum(tokens_before)
    by_model = [s for s in record.segments if s.author.value == "model"]
    assert record.counts.output_tokens == sum(len(s.token_ids) for s in by_model)
    assert record.counts.reason_tokens == record.num_tokens(Kind.REASON) > 0
    assert (record.counts.steps, record.counts.invalid_actions) == (3, 0)
    assert record.times.total_s >= record.times.engine_s + record.times.environment_s > 0


async def test_the_policy_of_an_episode_is_recorded(run: Run) -> None:
    record: Trajectory = await run()
    policy = record.policy
    assert (policy.model, policy.weight_version, policy.prompt_style) == ("scripted:replies", 0, "react")
    stopping = CONFIG.sampling.model_copy(update={"stop": ReActStyle("").stop})
    assert Sampling(**json.loads(policy.sampling_json)) == stopping
    assert json.loads(record.policy.method_json)["instructions"] == "short"


async def test_a_failed_task_is_a_failure_not_an_error(run: Run) -> None:
    record: Trajectory = await run("Action: give up")
    outcome = record.outcome
    assert (outcome.stop_reason, outcome.success, outcome.reward) == (StopReason.FAILURE, False, -1.0)


async def test_the_step_limit_ends_an_episode(run: Run) -> None:
    record: Trajectory = await run("Action: wait")
    assert (record.outcome.stop_reason, record.counts.steps, record.counts.invalid_actions) == (
        StopReason.STEP_LIMIT,
        6,
        6,
    )


async def test_an_answer_without_an_action_uses_a_turn_and_has_no_other_effect(run: Run) -> None:
    record: Trajectory = await run("I wonder.", "Thought: a\nAction:", ADD)
    assert record.outcome.success
    assert (record.counts.steps, record.counts.invalid_actions) == (5, 2)
    observed = [s.text for s in record.segments if s.kind is Kind.OBSERVATION]
    assert observed[1:3] == ["Nothing happens.", "Nothing happens."]


async def test_no_turn_starts_that_could_exceed_the_token_limit_of_an_episode(run: Run) -> None:
    one: Trajectory = await run(config=CONFIG.model_copy(update={"max_steps": 1}))
    enough = len(one.token_ids) + 1 + CONFIG.sampling.max_tokens
    for limit, steps in ((enough, 2), (enough - 1, 1)):
        record: Trajectory = await run(config=CONFIG.model_copy(update={"max_tokens": limit}))
        assert (record.outcome.stop_reason, record.counts.steps) == (StopReason.TOKEN_LIMIT, steps)
        assert len(record.token_ids) <= limit
        record = await run(engine_settings={"max_model_len": limit})
        assert (record.outcome.stop_reason, record.counts.steps) == (StopReason.TOKEN_LIMIT, steps)


async def test_a_failing_environment_is_recorded_with_all_earlier_turns(run: Run) -> None:
    record: Trajectory = await run(ADD, "Action: crash")
    assert record.outcome.stop_reason is StopReason.ERROR
    assert record.outcome.failure == Failure("environment", "OSError", "the counter fell down")
    assert record.outcome.reward == 0.5
    assert [s.text for s in record.segments if s.kind is Kind.ACT] == [" add", " crash"]


async def test_a_task_that_cannot_start_is_recorded(run: Run) -> None:
    record: Trajectory = await run(task=replace(TASK, payload={"goal": "many"}))
    assert record.outcome.failure == Failure(
        "environment", "ValueError", "the goal of counting/train/1 is no number", Cause.ENVIRONMENT
    )
    assert record.segments == ()


@pytest.mark.parametrize("verb", ["crash", "add"])
async def test_a_blocking_environment_is_stepped_in_a_thread(run: Run, verb: str) -> None:
    record: Trajectory = await run(f"Action: {verb}", environment=Counting(blocking=True))
    assert record.outcome.success == (verb == "add")
    assert (record.outcome.failure is None) == (verb == "add")


async def test_a_step_that_hangs_is_an_error_of_the_environment(run: Run) -> None:
    environment = Counting(blocking=True)
    record: Trajectory = await run(
        "Action: hang", environment=environment, config=CONFIG.model_copy(update={"step_timeout_s": 0.5})
    )
    environment.close()
    assert record.outcome.failure == Failure("environment", "TimeoutError", "no answer within 0.5 s")


async def test_an_engine_that_hangs_is_an_error_of_the_engine(run: Run) -> None:
    record: Trajectory = await run(
        engine_settings={"latency_s": 20}, config=CONFIG.model_copy(update={"step_timeout_s": 0.05})
    )
    assert record.outcome.failure == Failure("engine", "TimeoutError", "no answer within 0.05 s", Cause.ENGINE)


async def test_a_time_limit_that_many_answers_use_up_is_a_result(run: Run) -> None:
    config = CONFIG.model_copy(update={"time_limit_s": 0.6, "max_steps": 500, "max_tokens": 10**5})
    record: Trajectory = await run("Action: wait", engine_settings={"latency_s": 0.02}, config=config)
    assert (record.outcome.stop_reason, record.outcome.failure) == (StopReason.TIME_LIMIT, None)
    assert not is_owed(record)
    assert record.segments


@pytest.mark.parametrize("who", ["engine", "environment"])
async def test_a_time_limit_that_one_call_uses_up_is_a_failure_of_who_did_not_answer(run: Run, who: str) -> None:
    environment = Counting(blocking=True)
    record: Trajectory = await run(
        "Action: hang",
        environment=environment,
        engine_settings={"latency_s": 20 if who == "engine" else 0},
        config=CONFIG.model_copy(update={"time_limit_s": 0.3}),
    )
    environment.close()
    failure = record.outcome.failure
    assert failure is not None
    assert (record.outcome.stop_reason, failure.boundary, failure.type) == (StopReason.ERROR, who, "TimeoutError")
    assert is_owed(record)
    assert record.segments


async def test_an_episode_without_awaits_keeps_its_time_limit(
    run: Run, tokenizer: Tokenizer, builder: PromptBuilder
) -> None:
    """Without an await, no timer can fire."""

    class Instant(ScriptedEngine):
        async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
            return builder.completion_of("Action: wait")

    class Slow(Counting):
        def step(self, action: str) -> Step:
            time.sleep(0.02)
            return super().step(action)

    engine = Instant(ScriptedConfig(tokenizer="-", replies=("-",), max_model_len=10**6), tokenizer)
    config = CONFIG.model_copy(update={"time_limit_s": 0.5, "max_steps": 500, "max_tokens": 10**6})
    record: Trajectory = await run(engine=engine, environment=Slow(), config=config)
    assert record.outcome.stop_reason is StopReason.TIME_LIMIT
    assert 0 < record.counts.steps < 500


class DistributionEngine(ScriptedEngine):
    """Also records the requests, and returns a distribution."""

    def __init__(self, tokenizer: Tokenizer, fail: Exception | None = None) -> None:
        super().__init__(ScriptedConfig(tokenizer="-", replies=(ADD,)), tokenizer)
        self.fail = fail
        self.seeds: list[int | None] = []
        self.prompts: list[tuple[int, ...]] = []
        self.sessions: set[str] = set()

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        if self.fail:
            raise self.fail
        self.seeds.append(sampling.seed)
        self.prompts.append(tuple(token_ids))
        self.sessions.add(session_id)
        record = await super().generate(token_ids, sampling, session_id)
        n = len(record.token_ids)
        top = TopK(tuple((t,) for t in record.token_ids), ((0.0,),) * n, (0.0,) * n)
        return replace(record, logprobs=(-0.5,) * n, top=top)


async def test_a_failing_engine_is_recorded(run: Run, tokenizer: Tokenizer) -> None:
    record: Trajectory = await run(engine=DistributionEngine(tokenizer, fail=ConnectionError("gone")))
    assert record.outcome.failure == Failure("engine", "ConnectionError", "gone", Cause.ENGINE)


async def test_the_engine_sees_exactly_what_is_recorded(run: Run, tokenizer: Tokenizer) -> None:
    engine = DistributionEngine(tokenizer)
    record: Trajectory = await run(engine=engine)
    assert [record.token_ids[: len(prompt)] for prompt in engine.prompts] == engine.prompts
    assert len(engine.sessions) == 1


async def test_each_turn_has_its_own_reproducible_seed(run: Run, tokenizer: Tokenizer) -> None:
    seeds = []
    for identity in (IDENTITY, IDENTITY, replace(IDENTITY, attempt=1)):
        engine = DistributionEngine(tokenizer)
        await run(engine=engine, identity=identity)
        seeds.append(engine.seeds)
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_a_turns_seed_is_the_same_in_every_process() -> None:
    assert turn_seed(None, Key("teacher", 0, "a", 0), 1) == 1812892292
    assert turn_seed(1, Key("teacher", 0, "a", 0), 1) != 1812892292


async def test_only_the_distributions_of_a_teacher_are_recorded(run: Run, tokenizer: Tokenizer) -> None:
    for role, kept in (("teacher", True), ("student", False)):
        record: Trajectory = await run(engine=DistributionEngine(tokenizer), identity=replace(IDENTITY, role=role))
        acts = [segment for segment in record.segments if segment.kind is Kind.ACT]
        assert all((segment.teacher is not None) == kept for segment in acts)
        assert all(segment.logprobs == (-0.5,) * len(segment.token_ids) for segment in acts)


async def test_hints_are_shown_and_recorded(run: Run) -> None:
    record: Trajectory = await run(guide=constant_guidance("Say add."))
    assert [s.text for s in record.segments if s.kind is Kind.HINT] == ["Hint: Say add.\n\n"]


async def test_a_first_thought_opens_the_first_turn_only_and_is_parsed_with_it(run: Run, tokenizer: Tokenizer) -> None:
    engine = RecordingEngine(ScriptedConfig(tokenizer="-", replies=(" I count on.\nAction: add", ADD)), tokenizer)
    record: Trajectory = await run(engine=engine, guide=constant_guidance(first_thought="One is next."))
    assert record.outcome.success
    first = [(s.kind, s.author.value, s.text) for s in record.segments if s.turn == 1][1:4]
    assert first == [
        (Kind.PREFIX, "teacher", "Thought: One is next."),
        (Kind.REASON, "model", " I count on."),
        (Kind.FORMAT, "model", "\nAction:"),
    ]
    assert sum(s.kind is Kind.PREFIX for s in record.segments) == 1
    assert tokenizer.decode(engine.prompts[0]).endswith("<|assistant|>Thought: One is next.")
    assert record.counts.output_tokens == sum(len(s.token_ids) for s in record.segments if s.author.value == "model")


async def test_a_style_without_thoughts_refuses_a_first_thought() -> None:
    with pytest.raises(UserError, match="style act does not begin with a thought; set agent.style to react"):
        ActStyle("").turn_prefix("Hm.")


async def test_a_failing_guide_is_a_failure_of_the_episode(run: Run) -> None:
    async def guide(task: Task, reset: Reset) -> Guidance:
        raise ConnectionError(f"no advice on {task.id} after {reset.observation!r}")

    record: Trajectory = await run(guide=guide)
    assert record.outcome.failure == Failure(
        "engine", "ConnectionError", f"no advice on {TASK.id} after 'The count is 0.'", Cause.ENGINE
    )


async def test_a_bug_propagates_instead_of_being_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptBuilder, "observation", None)
    with pytest.raises(TypeError):
        await run()


async def test_a_cancelled_episode_is_cancelled(run: Run) -> None:
    environment = Counting()
    playing = asyncio.ensure_future(run(environment=environment, engine_settings={"latency_s": 20}))
    await wait_in_loop(lambda: environment.goal, "the start of the episode")
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
