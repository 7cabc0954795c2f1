"""Constrained acting: even a model without any sense writes whole turns, with actions that the world allows."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel, ValidationError

from rollout.engine import Sampling
from rollout.engines.transformers_engine import TransformersConfig, TransformersEngine, start
from rollout.environment import Environment, Reset, Step
from rollout.environments.plugins import find_plugin, make_task_source
from rollout.episode.acting import ConstrainedActing
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.episode.guidance import always
from rollout.errors import UserError
from rollout.factory import make_environment, make_style
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Identity, Kind, Trajectory


@pytest.fixture(scope="module")
def senseless(model: str) -> str:
    """A model with random weights, and with more tokens than its tokenizer has."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "initializer_range": 0.3}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=520, max_position_embeddings=8192, eos_token_id=1, **sizes, **heads)
    Qwen2ForCausalLM(config).save_pretrained(model)
    return model


@pytest_asyncio.fixture
async def engine(senseless: str) -> AsyncIterator[TransformersEngine]:
    started = await start(TransformersConfig(model=senseless, device="cpu", batch_window_ms=0.0))
    yield started
    await started.close()


class Listening:
    """An environment that keeps what it allowed and what was done."""

    def __init__(self, world: Environment) -> None:
        self.world = world
        self.allowed: list[list[str] | None] = []
        self.done: list[str] = []
        self.action_forms = world.action_forms  # type: ignore[attr-defined]

    def reset(self, task: Any) -> Reset:
        return self.world.reset(task)

    def step(self, action: str) -> Step:
        listed = self.world.admissible_actions()
        self.allowed.append(None if listed is None else list(listed))
        self.done.append(action)
        return self.world.step(action)

    def admissible_actions(self) -> Any:
        return self.world.admissible_actions()

    def open_actions(self) -> Any:
        return self.world.open_actions() if hasattr(self.world, "open_actions") else ()

    def close(self) -> None:
        self.world.close()


def agent(to: str = "admissible", **settings: Any) -> AgentConfig:
    sampling = {"max_tokens": 60, "temperature": 1.0}
    acting = {"type": "constrained", "to": to}
    return AgentConfig.model_validate(
        {"max_steps": 3, "max_tokens": 8000, "sampling": sampling, "acting": acting, **settings}
    )


async def play(
    engine: TransformersEngine, world: BaseModel, config: AgentConfig, **options: Any
) -> tuple[Trajectory, Listening]:
    builder = PromptBuilder(load_tokenizer(engine.name), make_style(config, world))
    environment = Listening(make_environment(world))
    task = make_task_source(world).tasks("train", 1)[0]
    identity = Identity("run", "student", 0, task.id, 0, "-", "train", "-")
    return await run_episode(task, environment, engine, builder, config, identity, **options), environment


@pytest.mark.parametrize(
    ("style", "temperature", "max_tokens"),
    [("react", 0.0, 80), ("react", 1.5, 60), ("act", 1.0, 40), ("stateact", 1.0, 130)],
)
async def test_every_turn_has_an_admissible_action(
    engine: TransformersEngine, style: str, temperature: float, max_tokens: int
) -> None:
    config = agent(style=style, sampling={"max_tokens": max_tokens, "temperature": temperature})
    made, world = await play(engine, find_plugin("household").config_model()(), config)
    assert made.counts.steps == len(world.done) == 3
    assert made.counts.invalid_actions == 0
    assert all(listed and done in listed for done, listed in zip(world.done, world.allowed, strict=True))
    assert json.loads(made.policy.method_json)["acting"] == {"type": "constrained", "to": "admissible"}


async def test_without_constraint_it_writes_no_action_at_all(engine: TransformersEngine) -> None:
    made, _ = await play(engine, find_plugin("household").config_model()(), agent(acting={"type": "plain"}))
    assert made.counts.invalid_actions == made.counts.steps == 3


async def test_where_actions_are_written_by_the_worlds_grammar_all_are_understood(engine: TransformersEngine) -> None:
    made, world = await play(engine, find_plugin("hotpotqa").config_model()(), agent("grammar"))
    assert made.counts.invalid_actions == 0
    assert all(re.fullmatch(r"(search|lookup|finish)\[.+\]", done) for done in world.done)


async def test_a_page_that_lists_no_buttons_is_searched(engine: TransformersEngine) -> None:
    made, world = await play(engine, find_plugin("webshop").config_model()(), agent(style="act"))
    assert made.counts.invalid_actions == 0
    for done, listed in zip(world.done, world.allowed, strict=True):
        assert re.fullmatch(r"search\[.+\]", done) if listed is None else done in listed


async def test_a_world_that_lists_no_actions_is_refused_before_the_first_completion(
    engine: TransformersEngine,
) -> None:
    with pytest.raises(UserError, match=r"does not list its actions; set agent\.acting\.to to grammar"):
        await play(engine, find_plugin("hotpotqa").config_model()(), agent())


async def test_a_first_thought_that_was_begun_is_gone_on_with(engine: TransformersEngine) -> None:
    made, _ = await play(
        engine, find_plugin("household").config_model()(), agent(max_steps=1), guide=always(first_thought="I see")
    )
    assert made.counts.invalid_actions == 0
    turn = "".join(segment.text for segment in made.segments if segment.turn == 1)
    assert turn.count("Thought:") == 1


async def test_what_is_recorded_are_the_models_own_log_probabilities(engine: TransformersEngine) -> None:
    sampling = Sampling(max_tokens=60, temperature=1.0, top_p=0.5, top_logprobs=4)
    made, _ = await play(engine, find_plugin("household").config_model()(), agent(max_steps=1, sampling=sampling))
    scored = await engine.score(made.token_ids, 520)
    place, compared = 0, 0
    for segment in made.segments:
        for offset, token in enumerate(segment.token_ids if segment.logprobs else ()):
            row = dict(zip(scored.token_ids[place + offset], scored.logprobs[place + offset], strict=True))
            assert segment.logprobs is not None
            assert segment.logprobs[offset] == pytest.approx(row[token], abs=1e-3)
            compared += 1
        place += len(segment.token_ids)
    assert compared > 10
    # Had the masked distribution been recorded, the fixed texts would be certain.
    fixed = [s for s in made.segments if s.kind is Kind.FORMAT and s.logprobs]
    assert min(value for segment in fixed for value in segment.logprobs or ()) < -1


@pytest.mark.parametrize("style", ["codeact", "cot"])
def test_a_style_that_chooses_from_no_list_is_refused_in_one_sentence(style: str) -> None:
    with pytest.raises(ValidationError, match=f"style {style} does not choose from a list; set acting.to to grammar"):
        agent(style=style)
    assert agent("grammar", style=style).acting == ConstrainedActing(to="grammar")


def test_a_grammar_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="instance of Grammar"):
        Sampling.model_validate({"grammar": "Action: x"})
    assert "grammar" not in Sampling().model_dump()
