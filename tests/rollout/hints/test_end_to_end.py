"""From the failed episodes of a random policy to an episode with hints, and the same episode without them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environments.hints import hint_rules
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment, household_tasks
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.episode.guidance import constant_guidance
from rollout.hints.bank import read_bank, write_bank
from rollout.hints.config import HintConfig
from rollout.hints.retrieve import HintRetriever
from rollout.hints.writer import build_bank, summarize, write_hints
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import Kind
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.rolling_out import identity_of, roll_out_all

HOUSE = HouseholdConfig(size="small")
AGENT = AgentConfig(max_steps=10, max_tokens=8000, sampling=Sampling(max_tokens=200))
CONFIG = HintConfig(k=3)


async def test_failures_become_hints_that_are_shown_to_a_later_episode_but_not_to_a_student(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    builder = PromptBuilder(tokenizer, ReActStyle("Act in a house."))
    aimless = ScriptedEngine(ScriptedConfig(tokenizer="-", policy="household-random"), tokenizer)
    tasks = household_tasks(HOUSE).tasks("train", 31)
    store = TrajectoryStore(tmp_path / "trajectories")
    environment = partial(HouseholdEnvironment, HOUSE)
    store.write(await roll_out_all(tasks[:30], environment, aimless, builder, AGENT, role="student", concurrency=8))

    results = await write_hints(store.read(), CONFIG, rules=hint_rules)
    write_bank(build_bank(results, CONFIG, hint_rules), tmp_path / "hints.parquet")
    assert summarize(results)["without_hints"] <= len(results) // 10
    bank = read_bank(tmp_path / "hints.parquet", CONFIG.max_hint_characters)
    assert set(bank.by_category) == {task.task_type for task in tasks}

    task, environment = tasks[30], HouseholdEnvironment(HOUSE)
    hints = await HintRetriever(bank, CONFIG).choose(task.task_type, environment.reset(task), task.id)
    assert len(hints) == 3
    assert set(hints) <= {hint.text for hint in bank.in_category(task.task_type)}

    expert = ScriptedEngine(ScriptedConfig(tokenizer="-", policy="household-expert"), tokenizer)
    identity, agent = identity_of(task), AGENT.model_copy(update={"max_steps": 60})
    shown = await run_episode(task, environment, expert, builder, agent, identity, guide=constant_guidance(*hints))
    plain = await run_episode(task, environment, expert, builder, agent, identity)
    assert [s.text for s in shown.segments if s.kind is Kind.HINT] == [f"Hint: {hint}\n\n" for hint in hints]
    assert shown.outcome.success
    view = "".join(s.text for s in shown.segments if s.kind is not Kind.HINT)
    assert view == plain.text
