"""Constrained acting: even a random model writes complete turns with actions that the environment allows."""

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
from rollout.episode.guidance import constant_guidance
from rollout.errors import UserError
from rollout.factory import make_environment, make_style
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Identity, Kind, Trajectory


@pytest.fixture(scope="module")
def senseless(model: str) -> str:
    """A model with random weights and a larger vocabulary than its tokenizer."""
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


class RecordingEnvironment:
    """An environment that records the allowed and the executed actions."""

    def __init__(self, inner: Environment) -> None:
        self.wrapped = inner
        self.allowed: list[list[str] | None] = []
        self.done: list[str] = []
        self.action_templates = inner.action_templates  # type: ignore[attr-defined]

    def reset(self, task: Any) -> Reset:
        return self.wrapped.reset(task)

    def step(self, action: str) -> Step:
        listed = self.wrapped.admissible_actions()
        self.allowed.append(None if listed is None else list(listed))
        self.done.append(action)
        return self.wrapped.step(action)

    def admissible_actions(self) -> Any:
        return self.wrapped.admissible_actions()

    def open_actions(self) -> Any:
        return self.wrapped.open_actions() if hasattr(self.wrapped, "open_actions") else ()

    def close(self) -> None:
        self.wrapped.close()


def agent(to: str = "admissible", **settings: Any) -> AgentConfig:
    sampling = {"max_tokens": 60, "temperature": 1.0}
    acting = {"type": "constrained", "to": to}
    return AgentConfig.model_validate(
        {"max_steps": 3, "max_tokens": 8000, "sampling": sampling, "acting": acting, **settings}
    )


async def play(
    engine: TransformersEngine, environment_config: BaseModel, config: AgentConfig, **options: Any
) -> tuple[Trajectory, RecordingEnvironment]:
    builder = PromptBuilder(load_tokenizer(engine.name), make_style(config, environment_config))
    environment = RecordingEnvironment(make_environment(environment_config))
    task = make_task_source(environment_config).tasks("train", 1)[0]
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
    trajectory, environment = await play(engine, find_plugin("household").config_model()(), config)
    assert trajectory.counts.steps == len(environment.done) == 3
    assert trajectory.counts.invalid_actions == 0
    assert all(listed and done in listed for done, listed in zip(environment.done, environment.allowed, strict=True))
    assert json.loads(trajectory.policy.method_json)["acting"] == {"type": "constrained", "to": "admissible"}


async def test_without_constraints_the_model_writes_no_action(engine: TransformersEngine) -> None:
    trajectory, _ = await play(engine, find_plugin("household").config_model()(), agent(acting={"type": "plain"}))
    assert trajectory.counts.invalid_actions == trajectory.counts.steps == 3


async def test_actions_constrained_by_the_environments_grammar_are_all_understood(engine: TransformersEngine) -> None:
    trajectory, environment = await play(engine, find_plugin("hotpotqa").config_model()(), agent("grammar"))
    assert trajectory.counts.invalid_actions == 0
    assert all(re.fullmatch(r"(search|lookup|finish)\[.+\]", done) for done in environment.done)


async def test_a_page_without_buttons_is_searched(engine: TransformersEngine) -> None:
    trajectory, environment = await play(engine, find_plugin("webshop").config_model()(), agent(style="act"))
    assert trajectory.counts.invalid_actions == 0
    for done, listed in zip(environment.done, environment.allowed, strict=True):
        assert re.fullmatch(r"search\[.+\]", done) if listed is None else done in listed


async def test_an_environment_that_lists_no_actions_is_refused_before_the_first_completion(
    engine: TransformersEngine,
) -> None:
    with pytest.raises(UserError, match=r"does not list its actions; set agent\.acting\.to to grammar"):
        await play(engine, find_plugin("hotpotqa").config_model()(), agent())


async def test_the_grammar_continues_a_first_thought(engine: TransformersEngine) -> None:
    trajectory, _ = await play(
        engine,
        find_plugin("household").config_model()(),
        agent(max_steps=1),
        guide=constant_guidance(first_thought="I see"),
    )
    assert trajectory.counts.invalid_actions == 0
    turn = "".join(segment.text for segment in trajectory.segments if segment.turn == 1)
    assert turn.count("Thought:") == 1


async def test_the_models_own_log_probabilities_are_recorded(engine: TransformersEngine) -> None:
    sampling = Sampling(max_tokens=60, temperature=1.0, top_p=0.5, top_logprobs=4)
    trajectory, _ = await play(engine, find_plugin("household").config_model()(), agent(max_steps=1, sampling=sampling))
    scored = await engine.score(trajectory.token_ids, 520)
    place, compared = 0, 0
    for segment in trajectory.segments:
        for offset, token in enumerate(segment.token_ids if segment.logprobs else ()):
            row = dict(zip(scored.token_ids[place + offset], scored.logprobs[place + offset], strict=True))
            assert segment.logprobs is not None
            assert segment.logprobs[offset] == pytest.approx(row[token], abs=1e-3)
            compared += 1
        place += len(segment.token_ids)
    assert compared > 10
    # In the masked distribution, the fixed texts would have probability 1.
    fixed = [s for s in trajectory.segments if s.kind is Kind.FORMAT and s.logprobs]
    assert min(value for segment in fixed for value in segment.logprobs or ()) < -1


@pytest.mark.parametrize("style", ["codeact", "cot"])
def test_a_style_that_does_not_choose_from_a_list_is_refused_in_one_sentence(style: str) -> None:
    with pytest.raises(ValidationError, match=f"style {style} does not choose from a list; set acting.to to grammar"):
        agent(style=style)
    assert agent("grammar", style=style).acting == ConstrainedActing(to="grammar")


def test_a_grammar_is_not_part_of_the_settings() -> None:
    with pytest.raises(ValidationError, match="instance of Grammar"):
        Sampling.model_validate({"grammar": "Action: x"})
    assert "grammar" not in Sampling().model_dump()
