"""The search action: results are observed in every style, and an outage ends the episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig
from rollout.environment import Reset, Step, Task
from rollout.environments.hotpotqa.environment import HotpotQAConfig, HotpotQAEnvironment
from rollout.environments.household.environment import HouseholdConfig
from rollout.environments.math.config import MathConfig
from rollout.environments.plugins import has_own_search, make_task_source
from rollout.environments.webshop.environment import WebShopConfig
from rollout.environments.wrappers.search import ACTION, NO_QUERY, SearchEnvironment
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.factory import make_builder, make_engine, make_environment, make_style
from rollout.prompts.styles import StyleName
from rollout.tools.retrieval.client import Backend, in_process
from rollout.tools.retrieval.config import ClientConfig, RetrievalConfig
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.service import RetrievalServer, Service
from rollout.tools.sandbox.tiers import available_tiers
from rollout.trajectory import Author, Failure, Kind, StopReason, Trajectory
from tests.rollout.rolling_out import identity_of

MATHS = MathConfig()
HIT = "[1] Heron's formula: The area of a triangle from its three sides."
ASK = {
    "react": "Thought: I look it up.\nAction: search[triangle area]",
    "act": "Action: search[triangle area]",
    "stateact": "goal: an area\nthought: I look it up.\naction: search[triangle area]",
    "codeact": 'Thought: I look it up.\nCode:\n```py\nprint(search("triangle area"))\n```<end_code>',
}
STYLES: tuple[StyleName, ...] = ("react", "act", "stateact", "codeact")
needs_sandbox = pytest.mark.skipif(
    not any(status.works for status in available_tiers()[:2]), reason="no strong sandbox works on this machine"
)
EVERY_STYLE = [pytest.param(name, marks=needs_sandbox if name == "codeact" else ()) for name in STYLES]


class Door:
    """``open`` ends it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def reset(self, task: Task) -> Reset:
        return Reset("A door.", "open it")

    def step(self, action: str) -> Step:
        self.heard.append(action)
        return Step("It is open.", 1.0, done=True, success=True) if action == "open" else Step("What?", valid=False)

    def admissible_actions(self) -> Sequence[str]:
        return ["open"]

    def close(self) -> None:
        self.heard.append("(closed)")


def agent(style: StyleName, instructions: str = "full") -> AgentConfig:
    sandbox = {"preload": [], "packages": [], "memory_mib": 128}
    settings = {"style": style, "instructions": instructions, "max_steps": 1, "max_tokens": 10**5, "sandbox": sandbox}
    return AgentConfig.model_validate({**settings, "sampling": Sampling(max_tokens=200)})


@pytest.fixture
def config(tmp_path: Path) -> RetrievalConfig:
    path = tmp_path / "formulas.jsonl"
    rows = [("Heron's formula", "The area of a triangle from its three sides."), ("Circle", "Round.")]
    path.write_text("".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in rows))
    client = ClientConfig(timeout_s=60, retries=1, retry_wait_s=0.001)
    return RetrievalConfig(corpus=str(path), index_dir=str(tmp_path / "index"), client=client)


async def play(model: str, style: StyleName, config: RetrievalConfig, replica: Backend) -> Trajectory:
    """One turn of a math problem with a search."""
    search, task = Service(config, (replica,)).connect(), make_task_source(MATHS).tasks("train", 1)[0]
    scripted = ScriptedConfig(tokenizer=model, replies=(ASK[style],), max_model_len=10**6)
    environment = make_environment(MATHS, agent(style), search)
    builder = make_builder(agent(style), MATHS, scripted, with_search=True)
    identity = identity_of(task)
    try:
        return await run_episode(task, environment, await make_engine(scripted), builder, agent(style), identity)
    finally:
        environment.close()


@pytest.mark.parametrize("style", EVERY_STYLE)
async def test_an_agent_is_informed_of_the_search_and_observes_its_results(
    style: StyleName, model: str, config: RetrievalConfig
) -> None:
    made = await play(model, style, config, in_process(RetrievalServer(config)))
    assert (made.outcome.failure, made.outcome.stop_reason) == (None, StopReason.STEP_LIMIT)
    assert made.counts.invalid_actions == 0
    told = "".join(segment.text for segment in made.segments if segment.kind is Kind.SYSTEM)
    assert ("- search: looks up" if style == "codeact" else "search[query] looks up") in told
    observed = made.segments[-1]
    assert (observed.kind, observed.author, observed.turn) == (Kind.OBSERVATION, Author.ENVIRONMENT, 1)
    assert HIT in observed.text.splitlines()


@pytest.mark.parametrize("style", [EVERY_STYLE[0], EVERY_STYLE[3]])
async def test_a_service_that_is_down_ends_the_episode_with_an_error_of_the_tool(
    style: StyleName, model: str, config: RetrievalConfig
) -> None:
    async def down(queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        raise ConnectionError("no route")

    made = await play(model, style, config, down)
    assert made.outcome.stop_reason is StopReason.ERROR
    assert made.outcome.failure == Failure("tool", "ConnectionError", "no route")
    assert [s.kind for s in made.segments if s.turn == 1 and s.author is Author.ENVIRONMENT] == []


def test_all_actions_except_searches_reach_the_environment() -> None:
    door = Door()
    environment = SearchEnvironment(door, lambda query: f"found {query}")
    assert environment.reset(Task("door/1", "door", "train", "door")) == Reset("A door.", "open it")
    assert environment.step(" Search [ a key [old] ] ") == Step("found a key [old]")
    assert environment.step("search[two\nlines]") == Step("found two\nlines")
    assert environment.step("search[ ]") == Step(NO_QUERY, valid=False)
    assert environment.step("search") == Step("What?", valid=False)
    assert environment.step("open").success
    assert environment.step("search[a key]") == Step("What?", valid=False)  # answered by the environment after the end
    environment.close()
    assert door.heard == ["search", "open", "search[a key]", "(closed)"]


def test_a_new_episode_accepts_searches_again() -> None:
    environment = SearchEnvironment(Door(), lambda query: "found")
    for _ in range(2):
        environment.reset(Task("door/1", "door", "train", "door"))
        assert environment.step("search[x]") == Step("found")
        environment.step("open")


@pytest.mark.parametrize("instructions", ["short", "full"])
@pytest.mark.parametrize("style", STYLES)
def test_the_search_is_appended_to_the_instructions(style: StyleName, instructions: str) -> None:
    plain = make_style(agent(style, instructions), HouseholdConfig()).instructions
    told = make_style(agent(style, instructions), HouseholdConfig(), with_search=True).instructions
    added = "\n- search: looks up" if style == "codeact" else f"\n{ACTION}"
    assert added in told
    assert added not in plain
    assert all(line in told.splitlines() for line in plain.splitlines())


@pytest.mark.parametrize("environment", [HotpotQAConfig(), WebShopConfig()])
@pytest.mark.parametrize("style", STYLES)
def test_an_environment_with_a_search_gets_no_other_search(environment: BaseModel, style: StyleName) -> None:
    assert has_own_search(environment)
    told = make_style(agent(style), environment, with_search=True)
    assert told.instructions == make_style(agent(style), environment).instructions


def test_hotpotqa_is_not_wrapped() -> None:
    assert isinstance(make_environment(HotpotQAConfig(), None, lambda query: ""), HotpotQAEnvironment)
    assert isinstance(make_environment(MATHS, None, lambda query: ""), SearchEnvironment)
