"""Chain-of-thought turns: their parsing, and the turns of expert policies that answer without tools."""

from __future__ import annotations

import re
from itertools import groupby

import pytest

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig
from rollout.environments.plugins import find_plugin, make_task_source
from rollout.environments.policies import make_policy
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.factory import make_builder, make_engine, make_environment, make_style
from rollout.prompts.cot import ChainOfThoughtStyle, first_thought
from rollout.trajectory import Author, Kind, Trajectory
from tests.rollout.rolling_out import roll_out_all

STYLE = ChainOfThoughtStyle("Do it.")
R, A, F, T = Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING
COT = AgentConfig(style="cot", max_steps=1, max_tokens=10**4, sampling=Sampling(max_tokens=2000))

CASES = {
    "the whole form": (
        "I add.\n\n1 + 1 = 2\n\n<answer>2</answer>",
        [(R, "I add.\n\n1 + 1 = 2"), (F, "\n\n<answer>"), (A, "2"), (F, "</answer>")],
        "finish[2]",
    ),
    "an answer alone": ("<answer> yes\n</answer>", [(F, "<answer>"), (A, " yes\n"), (F, "</answer>")], "finish[yes]"),
    "of two answers the last": (
        "a<answer>1</answer>b<answer>2</answer>c",
        [(R, "a<answer>1</answer>b"), (F, "<answer>"), (A, "2"), (F, "</answer>"), (T, "c")],
        "finish[2]",
    ),
    "cut off after the mark": ("a\n<answer>Old M", [(R, "a"), (F, "\n<answer>"), (A, "Old M")], "finish[Old M]"),
    "an empty answer is none": ("a<answer> </answer>", [(R, "a"), (F, "<answer> </answer>")], None),
    "no answer": ("I do not know.", [(R, "I do not know.")], None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_chain_of_thought_is_parsed_to_reasoning_and_answer(name: str) -> None:
    text, spans, action = CASES[name]
    parsed = STYLE.parse(text)
    starts = [0, *(end for _, end in parsed.spans)]
    pieces = [(kind, text[start:end]) for start, (kind, end) in zip(starts, parsed.spans, strict=False)]
    merged = [(kind, "".join(part for _, part in run)) for kind, run in groupby(pieces, key=lambda piece: piece[0])]
    assert merged == spans
    assert parsed.action == action


@pytest.mark.parametrize(
    ("text", "first"),
    [("I add.\n\n1 + 1 = 2\n\n<answer>2</answer>", "I add."), ("I add.<answer>2</answer>", "I add."), ("", "")],
)
def test_the_first_thought_ends_before_the_first_empty_line_or_answer(text: str, first: str) -> None:
    assert first_thought(text) == first


async def answered(world: str, split: str = "valid_unseen", count: int = 30) -> list[Trajectory]:
    config = find_plugin(world).config_model()()
    scripted = ScriptedConfig(tokenizer=f"builtin:{world}-tokenizer", policy=f"{world}-expert")
    engine, builder = await make_engine(scripted, COT), make_builder(COT, config, scripted)
    tasks = make_task_source(config).tasks(split, count)
    return await roll_out_all(tasks, lambda: make_environment(config, COT), engine, builder, COT)


async def test_the_math_expert_solves_word_problems_and_writes_every_step() -> None:
    word_problems = [trajectory for trajectory in await answered("math") if "by hand" not in trajectory.text]
    assert len(word_problems) > 10
    for trajectory in word_problems:
        assert trajectory.outcome.success, trajectory.text
        assert trajectory.counts.steps == 1
        written = "".join(s.text for s in trajectory.segments if s.author is Author.MODEL and s.kind is Kind.REASON)
        for left, right in re.findall(r"^(.+) = (.+)$", written, re.MULTILINE):
            assert re.fullmatch(r"[\d.+*/() -]+", left)
            assert re.fullmatch(r"[\d.]+", right)


async def test_the_hotpotqa_expert_guesses_unknown_facts_and_is_mostly_wrong() -> None:
    episodes = await answered("hotpotqa")
    bridges = [trajectory for trajectory in episodes if trajectory.identity.task_type.startswith("bridge")]
    assert all("I do not see it." in trajectory.text for trajectory in episodes)
    assert sum(trajectory.outcome.success for trajectory in bridges) <= len(bridges) // 4


def test_environments_without_answers_refuse_the_style() -> None:
    config = find_plugin("household").config_model()()
    with pytest.raises(UserError, match="agent.style is cot.* set agent.style to react"):
        make_style(COT, config)
    for name in ("household-expert", "math-random"):
        with pytest.raises(UserError, match=f"{name} does not answer in one turn; set agent.style"):
            make_policy(name, 0, "cot")
