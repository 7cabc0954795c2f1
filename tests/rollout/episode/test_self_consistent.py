"""Self-consistent acting: candidates are tried in copies of the environment, and a vote selects the winner."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.engine import Completion, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Environment, Reset, Step, Task
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment
from rollout.environments.household.generator import HouseholdTasks
from rollout.environments.wrappers.code import CodeActEnvironment
from rollout.episode.acting import SelfConsistentActing
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.errors import UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.codeact import CodeActStyle
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.prompts.tool import Tool
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.tiers import available_tiers
from rollout.trajectory import Failure, Identity, Kind, StopReason, Trajectory

TASK = Task("quiz/train/1", "quiz", "train", "quiz")
IDENTITY = Identity("run", "student", 0, TASK.id, 0, "quiz", "train", "quiz")
Replies = Sequence[Sequence[str]]


class Quiz:
    """``ask[x]`` answers; ``finish[42]`` succeeds; ``crash`` and ``hang`` fail. All copies record their calls."""

    calls: list[str]
    alive: int

    def __init__(self, blocking: bool = False, asked: tuple[str, ...] = ()) -> None:
        self.blocking = blocking
        self.asked = asked
        self.released = threading.Event()

    def reset(self, task: Task) -> Reset:
        type(self).calls, type(self).alive = [], 0
        self.asked = ()
        return Reset("A quiz.", "find the number")

    def step(self, action: str) -> Step:
        self.calls.append(action)
        self.asked += (action,)
        if action == "crash":
            raise OSError("the quiz fell down")
        if action == "hang":
            self.released.wait(20)
        said, won = {"said": float(len(self.asked))}, action == "finish[42]"
        if action.startswith("finish"):
            return Step("Right." if won else "Wrong.", float(won), True, won, scores=said, answer=action)
        return Step(f"You said {', '.join(self.asked)}.", 0.5, valid=action != "hm", scores=said)

    def admissible_actions(self) -> None:
        return None

    def fork(self) -> Quiz:
        type(self).alive += 1
        return Quiz(self.blocking, self.asked)

    def close(self) -> None:
        type(self).alive -= 1
        self.released.set()


class CandidateEngine(ScriptedEngine):
    """Returns a separate reply for each candidate of each turn: ``replies[turn][candidate]``."""

    def __init__(self, tokenizer: Tokenizer, builder: PromptBuilder, replies: Replies) -> None:
        super().__init__(ScriptedConfig(tokenizer="-", replies=("-",)), tokenizer)
        self.builder, self.replies = builder, replies
        self.asked: list[tuple[int, str, Sampling]] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        turn = len({length for length, _, _ in self.asked if length != len(token_ids)})
        number = sum(length == len(token_ids) for length, _, _ in self.asked)
        self.asked.append((len(token_ids), session_id, sampling))
        return self.builder.completion_of(self.replies[turn][number])


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    tier = next((status.tier for status in available_tiers() if status.works and status.tier is not Tier.RLIMITS), None)
    if tier is None:
        pytest.skip("no isolated sandbox works on this machine")
    with Sandbox(SandboxConfig(packages=(), preload=(), memory_mib=128, time_limit_s=1), tier) as sandbox:
        yield sandbox


def agent(candidates: int, **settings: Any) -> AgentConfig:
    acting = settings.pop("acting", SelfConsistentActing(candidates=candidates))
    limits = {"max_steps": 2, "max_tokens": 20000, "step_timeout_s": 20, "sampling": Sampling(max_tokens=2000)}
    return AgentConfig(**{**limits, "acting": acting, **settings})


async def play(
    tokenizer: Tokenizer, replies: Replies, environment: Environment | None = None, **settings: Any
) -> tuple[Trajectory, CandidateEngine]:
    """Actions in ReAct format, or code if the environment runs code."""
    style = CodeActStyle("") if isinstance(environment, CodeActEnvironment) else ReActStyle("")
    builder = PromptBuilder(tokenizer, style)
    engine = CandidateEngine(tokenizer, builder, replies)
    config = agent(len(replies[0]), **settings)
    return await run_episode(TASK, environment or Quiz(), engine, builder, config, IDENTITY), engine


def actions(*texts: str) -> list[str]:
    return [f"Thought: hm\nAction: {text}" if text else "I wonder." for text in texts]


def codes(*texts: str) -> list[str]:
    return [f"Thought: hm\nCode:\n```py\n{text}\n```<end_code>" for text in texts]


def observed(record: Trajectory) -> list[str]:
    return [s.text for s in record.segments if s.kind is Kind.OBSERVATION and s.turn > 0]


def acts(record: Trajectory) -> list[str]:
    return [s.text.strip() for s in record.segments if s.kind is Kind.ACT]


async def test_the_most_frequent_outcome_is_executed_once_and_the_others_leave_no_trace(tokenizer: Tokenizer) -> None:
    replies = [actions("ask[a]", "ask[b]", "", "ask[b]", "hm"), actions("ask[c]", "ask[d]", "ask[c]", "hm", "hm")]
    environment = Quiz()
    record, _ = await play(tokenizer, replies, environment)
    assert acts(record) == ["ask[b]", "ask[c]"]
    assert observed(record) == ["You said ask[b].", "You said ask[b], ask[c]."]
    assert (record.outcome.reward, record.outcome.scores) == (1.0, {"said": 2.0})
    assert len(environment.calls) == 4 + 5  # each candidate with an action once, the winner not again
    assert (environment.asked, environment.alive) == ((), 0)


async def test_tokens_of_all_candidates_are_counted_but_a_turn_only_once(tokenizer: Tokenizer) -> None:
    replies = [actions("ask[a]", "", "hm"), actions("hm", "hm", "hm")]
    record, engine = await play(tokenizer, replies)
    builder = engine.builder
    written = sum(len(builder.completion_of(reply).token_ids) for turn in replies for reply in turn)
    assert (record.counts.output_tokens, record.counts.prompt_tokens) == (
        written,
        sum(n for n, _, _ in engine.asked),
    )
    assert (record.counts.steps, record.counts.invalid_actions) == (2, 1)
    assert record.counts.reason_tokens == record.num_tokens(Kind.REASON)


async def test_candidates_differ_in_seed_and_session_and_use_the_sampling_of_the_acting_method(
    tokenizer: Tokenizer,
) -> None:
    acting = SelfConsistentActing(candidates=3, temperature=0.6, top_p=0.7)
    record, engine = await play(tokenizer, [actions("ask[a]", "hm", "hm")] * 2, acting=acting)
    assert len({sampling.seed for _, _, sampling in engine.asked}) == 6
    assert {(s.temperature, s.top_p) for _, _, s in engine.asked} == {(0.6, 0.7)}
    assert len({session for _, session, _ in engine.asked}) == 3
    sampling = json.loads(record.policy.sampling_json)
    assert (sampling["temperature"], sampling["top_p"]) == (0.6, 0.7)
    assert json.loads(record.policy.method_json)["acting"] == acting.model_dump()


async def test_without_a_valid_candidate_the_first_one_with_an_action_wins(tokenizer: Tokenizer) -> None:
    record, _ = await play(tokenizer, [actions("", "hm", "hm"), actions("", "", "")])
    assert acts(record) == ["hm"]
    assert observed(record) == ["You said hm.", "Nothing happens."]
    assert (record.counts.steps, record.counts.invalid_actions) == (2, 2)


async def test_one_greedy_candidate_is_equivalent_to_the_plain_agent(model: str, tokenizer: Tokenizer) -> None:
    builder, task = PromptBuilder(tokenizer, ReActStyle("")), HouseholdTasks("small").tasks("train", 1)[0]
    identity = replace(IDENTITY, task=task.id)
    settings = ScriptedConfig(tokenizer=model, policy="household-expert")
    record = []
    for acting in ({"type": "plain"}, SelfConsistentActing(candidates=1, temperature=0.0, top_p=1.0)):
        config = agent(1, acting=acting, max_steps=40)
        environment, engine = HouseholdEnvironment(HouseholdConfig()), ScriptedEngine(settings, tokenizer)
        record.append(await run_episode(task, environment, engine, builder, config, identity))
    plain, tried = record
    assert plain.outcome.success
    assert (tried.segments, tried.outcome, tried.counts) == (plain.segments, plain.outcome, plain.counts)
    assert tried.policy.sampling_json == plain.policy.sampling_json
    assert "acting" not in json.loads(plain.policy.method_json)


async def test_an_environment_that_cannot_be_copied_is_refused_before_the_first_completion(
    tokenizer: Tokenizer, sandbox: Sandbox
) -> None:
    class Single(Quiz):
        fork = None  # type: ignore[assignment]

    for environment in (Single(), CodeActEnvironment(Single(), sandbox)):
        with pytest.raises(UserError, match=r"Single cannot be copied .* set agent\.acting to plain"):
            await play(tokenizer, [actions("ask[a]", "ask[a]")], environment)


@pytest.mark.parametrize(
    ("action", "failure"),
    [
        ("crash", Failure("environment", "OSError", "the quiz fell down")),
        ("hang", Failure("environment", "TimeoutError", "no answer within 1 s")),
    ],
)
async def test_a_failing_environment_ends_the_episode_and_leaves_no_copy(
    tokenizer: Tokenizer, action: str, failure: Failure
) -> None:
    environment = Quiz(blocking=True)
    replies = [actions("ask[a]", "ask[a]"), actions("ask[b]", action)]
    record, _ = await play(tokenizer, replies, environment, step_timeout_s=1)
    assert (record.outcome.stop_reason, record.outcome.failure) == (StopReason.ERROR, failure)
    assert acts(record) == ["ask[a]"]
    assert environment.alive == 0


@pytest.fixture
def code_quiz(sandbox: Sandbox) -> Iterator[CodeActEnvironment]:
    ask = Tool("ask", "asks", "text", "text", "ask[{}]")
    environment = CodeActEnvironment(Quiz(), sandbox, (ask,), finish="finish[{}]")
    yield environment
    environment.close()


async def test_different_answers_of_code_that_prints_nothing_are_distinguished(
    tokenizer: Tokenizer, code_quiz: CodeActEnvironment
) -> None:
    record, _ = await play(tokenizer, [codes("final_answer(41)", "final_answer(42)", "final_answer('42')")], code_quiz)
    assert (acts(record), record.outcome.success) == (["final_answer(42)"], True)


async def test_code_calls_the_environment_of_its_own_copy(tokenizer: Tokenizer, code_quiz: CodeActEnvironment) -> None:
    first = codes("x = ask('a')\nprint('ok')", "x = ask('b')\nprint('ok')", "x = ask('c')\nask('d')")
    record, _ = await play(tokenizer, [first, codes("print(x, ask('e'))", "print(x, ask('e'))", "1 +")], code_quiz)
    assert "You said ask[a]. You said ask[a], ask[e].\n" in observed(record)[1]
    assert record.outcome.scores == {"said": 2.0}
    assert sorted(Quiz.calls) == ["ask[a]", "ask[b]", "ask[c]", "ask[d]", "ask[e]", "ask[e]"]


async def test_a_hostile_candidate_reaches_neither_another_one_nor_the_episode(
    tokenizer: Tokenizer, code_quiz: CodeActEnvironment
) -> None:
    """Also with copies of a running interpreter, in the second and third turn."""
    look = "import os\nprint(len('ab'), sorted(set(globals()) & {'evil'}), sorted(os.listdir('.')))"
    hostile = codes(
        "evil = 1\nprint(1)",
        "import builtins\ndel builtins.len\nprint(2)",
        "while True:\n    pass",
        "open('evil.txt', 'w').write('x')\nprint(3)",
        "import os\nos._exit(1)",
        look,
        look,
    )
    record, _ = await play(tokenizer, [hostile] * 3, code_quiz, max_steps=3)
    assert acts(record) == [look] * 3
    assert all("2 [] []" in text for text in observed(record))


@pytest.mark.parametrize("candidates", [0, 65])
def test_an_invalid_number_of_candidates_is_refused_in_one_sentence(candidates: int) -> None:
    with pytest.raises(ValidationError, match=f"candidates is {candidates}, but from 1 to 64 completions can be tried"):
        AgentConfig.model_validate({"acting": {"type": "self_consistent", "candidates": candidates}})


def test_more_copies_than_the_sandbox_allows_are_refused() -> None:
    settings = {"style": "codeact", "sandbox": {"max_processes": 8}}
    AgentConfig.model_validate({**settings, "acting": {"type": "self_consistent", "candidates": 7}})
    with pytest.raises(ValidationError, match="the sandbox has room for 7 copies"):
        AgentConfig.model_validate({**settings, "acting": {"type": "self_consistent", "candidates": 8}})
