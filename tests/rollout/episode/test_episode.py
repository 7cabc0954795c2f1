"""One episode: what ends it, what is counted, and that the world's failures are data."""

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
from rollout.episode.guidance import Guidance, always
from rollout.errors import UserError
from rollout.prompts.act import ActStyle
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Failure, Identity, Key, Kind, StopReason, TopK, Trajectory
from tests.waiting import wait_in_loop

TASK = Task("counting/train/1", "counting", "train", "count", {"goal": 3})
IDENTITY = Identity("run", "teacher", 0, TASK.id, 0, "counting", "train", "count")
ADD = "Thought: one more\nAction: add"
CONFIG = AgentConfig(max_steps=6, max_tokens=2000, time_limit_s=30, step_timeout_s=10, sampling=Sampling(max_tokens=40))


class Remembering(ScriptedEngine):
    """Keeps the prompts that it was given, and plays its replies also after an opening."""

    def __init__(self, config: ScriptedConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.prompts: list[tuple[int, ...]] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        self.prompts.append(tuple(token_ids))
        reply = self._config.replies[min(len(self.prompts), len(self._config.replies)) - 1]
        made = (*self._tokenizer.encode(reply), *self._end_of_turn)
        return Completion(made, None, reply, "stop")


class Counting:
    """The agent says ``add`` until the goal is reached. Other verbs show how an environment can go wrong."""

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


Play = Callable[..., Any]


@pytest.fixture
def play(tokenizer: Tokenizer, builder: PromptBuilder) -> Play:
    async def play(*replies: str, config: AgentConfig = CONFIG, task: Task = TASK, **options: Any) -> Trajectory:
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

    return play


async def test_a_solved_task(play: Play, builder: PromptBuilder) -> None:
    made: Trajectory = await play()
    assert made.outcome.success
    assert (made.outcome.stop_reason, made.outcome.reward, made.outcome.failure) == (StopReason.SUCCESS, 1.5, None)
    turns = [(ADD, f"The count is {n}.") for n in (1, 2, 3)]
    assert made.segments == tuple(builder.transcript(Reset("The count is 0.", "count to 3"), turns))
    assert made.identity == replace(IDENTITY, dialect="plain")


async def test_what_the_environment_says_of_the_episode_last_is_recorded(play: Play) -> None:
    made: Trajectory = await play()
    assert made.outcome.scores == {"count": 3.0, "first": 1.0}


async def test_what_an_episode_cost_is_counted(play: Play) -> None:
    made: Trajectory = await play()
    tokens_before = [
        sum(len(s.token_ids) for s in made.segments[: i + 1])
        for i, s in enumerate(made.segments)
        if s.text == "<|assistant|>"
    ]
    assert made.counts.prompt_tokens == sum(tokens_before)
    by_model = [s for s in made.segments if s.author.value == "model"]
    assert made.counts.output_tokens == sum(len(s.token_ids) for s in by_model)
    assert made.counts.reason_tokens == made.num_tokens(Kind.REASON) > 0
    assert (made.counts.steps, made.counts.invalid_actions) == (3, 0)
    assert made.times.total_s >= made.times.engine_s + made.times.environment_s > 0


async def test_how_it_was_made_is_recorded(play: Play) -> None:
    made: Trajectory = await play()
    assert (made.policy.model, made.policy.weight_version, made.policy.prompt_style) == ("scripted:replies", 0, "react")
    assert Sampling(**json.loads(made.policy.sampling_json)) == CONFIG.sampling
    assert json.loads(made.policy.method_json)["instructions"] == "short"


async def test_a_lost_task_is_a_failure_not_an_error(play: Play) -> None:
    made: Trajectory = await play("Action: give up")
    assert (made.outcome.stop_reason, made.outcome.success, made.outcome.reward) == (StopReason.FAILURE, False, -1.0)


async def test_the_step_limit_ends_an_episode(play: Play) -> None:
    made: Trajectory = await play("Action: wait")
    assert (made.outcome.stop_reason, made.counts.steps, made.counts.invalid_actions) == (StopReason.STEP_LIMIT, 6, 6)


async def test_an_answer_without_an_action_costs_a_turn_and_nothing_else(play: Play) -> None:
    made: Trajectory = await play("I wonder.", "Thought: a\nAction:", ADD)
    assert made.outcome.success
    assert (made.counts.steps, made.counts.invalid_actions) == (5, 2)
    observed = [s.text for s in made.segments if s.kind is Kind.OBSERVATION]
    assert observed[1:3] == ["Nothing happens.", "Nothing happens."]


async def test_no_turn_starts_that_could_go_beyond_the_tokens_of_an_episode(play: Play) -> None:
    one: Trajectory = await play(config=CONFIG.model_copy(update={"max_steps": 1}))
    enough = len(one.token_ids) + 1 + CONFIG.sampling.max_tokens
    for limit, steps in ((enough, 2), (enough - 1, 1)):
        made: Trajectory = await play(config=CONFIG.model_copy(update={"max_tokens": limit}))
        assert (made.outcome.stop_reason, made.counts.steps) == (StopReason.TOKEN_LIMIT, steps)
        assert len(made.token_ids) <= limit
        made = await play(engine_settings={"max_model_len": limit})
        assert (made.outcome.stop_reason, made.counts.steps) == (StopReason.TOKEN_LIMIT, steps)


async def test_an_environment_that_fails_is_recorded_with_all_that_came_before(play: Play) -> None:
    made: Trajectory = await play(ADD, "Action: crash")
    assert made.outcome.stop_reason is StopReason.ERROR
    assert made.outcome.failure == Failure("environment", "OSError", "the counter fell down")
    assert made.outcome.reward == 0.5
    assert [s.text for s in made.segments if s.kind is Kind.ACT] == [" add", " crash"]


async def test_a_task_that_cannot_start_is_recorded(play: Play) -> None:
    made: Trajectory = await play(task=replace(TASK, payload={"goal": "many"}))
    assert made.outcome.failure == Failure("environment", "ValueError", "the goal of counting/train/1 is no number")
    assert made.segments == ()


@pytest.mark.parametrize("verb", ["crash", "add"])
async def test_an_environment_that_blocks_is_stepped_in_a_thread(play: Play, verb: str) -> None:
    made: Trajectory = await play(f"Action: {verb}", environment=Counting(blocking=True))
    assert made.outcome.success == (verb == "add")
    assert (made.outcome.failure is None) == (verb == "add")


async def test_a_step_that_hangs_is_an_error_of_the_environment(play: Play) -> None:
    environment = Counting(blocking=True)
    made: Trajectory = await play(
        "Action: hang", environment=environment, config=CONFIG.model_copy(update={"step_timeout_s": 0.5})
    )
    environment.close()
    assert made.outcome.failure == Failure("environment", "TimeoutError", "no answer within 0.5 s")


async def test_an_engine_that_hangs_is_an_error_of_the_engine(play: Play) -> None:
    made: Trajectory = await play(
        engine_settings={"latency_s": 20}, config=CONFIG.model_copy(update={"step_timeout_s": 0.05})
    )
    assert made.outcome.failure == Failure("engine", "TimeoutError", "no answer within 0.05 s")


async def test_an_episode_has_a_time_limit_of_its_own(play: Play) -> None:
    made: Trajectory = await play(
        engine_settings={"latency_s": 20}, config=CONFIG.model_copy(update={"time_limit_s": 0.05})
    )
    assert (made.outcome.stop_reason, made.outcome.failure) == (StopReason.TIME_LIMIT, None)
    assert made.segments


async def test_an_episode_that_never_waits_still_keeps_its_time_limit(
    play: Play, tokenizer: Tokenizer, builder: PromptBuilder
) -> None:
    """Where nothing is awaited, no timer can fire."""

    class Instant(ScriptedEngine):
        async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
            return builder.written("Action: wait")

    class Slow(Counting):
        def step(self, action: str) -> Step:
            time.sleep(0.02)
            return super().step(action)

    engine = Instant(ScriptedConfig(tokenizer="-", replies=("-",), max_model_len=10**6), tokenizer)
    config = CONFIG.model_copy(update={"time_limit_s": 0.5, "max_steps": 500, "max_tokens": 10**6})
    made: Trajectory = await play(engine=engine, environment=Slow(), config=config)
    assert made.outcome.stop_reason is StopReason.TIME_LIMIT
    assert 0 < made.counts.steps < 500


class Recording(ScriptedEngine):
    """Also keeps what it was asked, and gives a distribution."""

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
        made = await super().generate(token_ids, sampling, session_id)
        n = len(made.token_ids)
        top = TopK(tuple((t,) for t in made.token_ids), ((0.0,),) * n, (0.0,) * n)
        return replace(made, logprobs=(-0.5,) * n, top=top)


async def test_an_engine_that_fails_is_recorded(play: Play, tokenizer: Tokenizer) -> None:
    made: Trajectory = await play(engine=Recording(tokenizer, fail=ConnectionError("gone")))
    assert made.outcome.failure == Failure("engine", "ConnectionError", "gone")


async def test_the_engine_sees_exactly_what_is_recorded(play: Play, tokenizer: Tokenizer) -> None:
    engine = Recording(tokenizer)
    made: Trajectory = await play(engine=engine)
    assert [made.token_ids[: len(prompt)] for prompt in engine.prompts] == engine.prompts
    assert len(engine.sessions) == 1


async def test_each_turn_has_a_seed_of_its_own_that_an_episode_repeats(play: Play, tokenizer: Tokenizer) -> None:
    seeds = []
    for identity in (IDENTITY, IDENTITY, replace(IDENTITY, attempt=1)):
        engine = Recording(tokenizer)
        await play(engine=engine, identity=identity)
        seeds.append(engine.seeds)
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_a_turns_seed_is_the_same_in_every_process() -> None:
    assert turn_seed(None, Key("teacher", 0, "a", 0), 1) == 1812892292
    assert turn_seed(1, Key("teacher", 0, "a", 0), 1) != 1812892292


async def test_only_a_teachers_own_distribution_is_kept_as_teaching_signal(play: Play, tokenizer: Tokenizer) -> None:
    for role, kept in (("teacher", True), ("student", False)):
        made: Trajectory = await play(engine=Recording(tokenizer), identity=replace(IDENTITY, role=role))
        acts = [segment for segment in made.segments if segment.kind is Kind.ACT]
        assert all((segment.teacher is not None) == kept for segment in acts)
        assert all(segment.logprobs == (-0.5,) * len(segment.token_ids) for segment in acts)


async def test_hints_are_shown_and_recorded(play: Play) -> None:
    made: Trajectory = await play(guide=always("Say add."))
    assert [s.text for s in made.segments if s.kind is Kind.HINT] == ["Hint: Say add.\n\n"]


async def test_a_first_thought_is_forced_on_the_first_turn_only_and_the_turn_is_read_with_it(
    play: Play, tokenizer: Tokenizer
) -> None:
    engine = Remembering(ScriptedConfig(tokenizer="-", replies=(" I count on.\nAction: add", ADD)), tokenizer)
    made: Trajectory = await play(engine=engine, guide=always(first_thought="One is next."))
    assert made.outcome.success
    first = [(s.kind, s.author.value, s.text) for s in made.segments if s.turn == 1][1:4]
    assert first == [
        (Kind.PREFIX, "teacher", "Thought: One is next."),
        (Kind.REASON, "model", " I count on."),
        (Kind.FORMAT, "model", "\nAction:"),
    ]
    assert sum(s.kind is Kind.PREFIX for s in made.segments) == 1
    assert tokenizer.decode(engine.prompts[0]).endswith("<|assistant|>Thought: One is next.")
    assert made.counts.output_tokens == sum(len(s.token_ids) for s in made.segments if s.author.value == "model")


async def test_a_style_without_thoughts_takes_no_first_thought() -> None:
    with pytest.raises(UserError, match="style act does not begin with a thought; set agent.style to react"):
        ActStyle("").begun("Hm.")


async def test_a_guide_that_fails_is_a_failure_of_the_episode(play: Play) -> None:
    async def guide(task: Task, reset: Reset) -> Guidance:
        raise ConnectionError(f"no advice on {task.id} after {reset.observation!r}")

    made: Trajectory = await play(guide=guide)
    assert made.outcome.failure == Failure(
        "engine", "ConnectionError", f"no advice on {TASK.id} after 'The count is 0.'"
    )


async def test_a_bug_of_ours_is_no_record(play: Play) -> None:
    class Odd(Counting):
        def step(self, action: str) -> Step:
            return replace(super().step(action), observation=None)

    with pytest.raises(AttributeError):
        await play(environment=Odd())


async def test_a_cancelled_episode_is_cancelled(play: Play) -> None:
    environment = Counting()
    playing = asyncio.ensure_future(play(environment=environment, engine_settings={"latency_s": 20}))
    await wait_in_loop(lambda: environment.goal, "the start of the episode")
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
