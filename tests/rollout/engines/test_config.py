"""Engine configs: the engine of each ``type``, and errors before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from rollout.engines.config import EngineConfig, start_engine
from rollout.engines.openai_engine import OpenAIConfig
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.engines.transformers_engine import TransformersConfig, TransformersEngine
from rollout.engines.vllm_engine import VllmConfig
from rollout.errors import UserError

SETTINGS: TypeAdapter[EngineConfig] = TypeAdapter(EngineConfig)


def test_the_type_selects_the_config_class() -> None:
    assert isinstance(SETTINGS.validate_python({"type": "vllm", "model": "m"}), VllmConfig)
    assert isinstance(SETTINGS.validate_python({"type": "transformers", "model": "m"}), TransformersConfig)
    assert isinstance(
        SETTINGS.validate_python({"type": "scripted", "tokenizer": "t", "replies": ["x"]}), ScriptedConfig
    )
    endpoint = {"type": "openai", "base_url": "http://h/v1", "model": "m", "tokenizer": "t"}
    assert isinstance(SETTINGS.validate_python(endpoint), OpenAIConfig)


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "sglang", "model": "m"},
        {"type": "vllm", "model": "m", "max_seqs": 3},
        {"type": "vllm", "model": "m", "gpu_memory_utilization": 1.5},
        {"type": "transformers", "model": "m", "max_batch": 0},
    ],
)
def test_unknown_engines_and_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SETTINGS.validate_python(settings)


@pytest.mark.parametrize("type_", [VllmConfig, TransformersConfig])
async def test_a_missing_model_folder_is_reported_before_anything_starts(
    type_: type[VllmConfig | TransformersConfig], tmp_path: Path
) -> None:
    loaded = "vllm.v1.engine.async_llm" in sys.modules
    with pytest.raises(UserError, match=r"missing does not exist") as raised:
        await start_engine(type_(model=str(tmp_path / "missing")))
    assert "\n" not in str(raised.value)
    assert ("vllm.v1.engine.async_llm" in sys.modules) == loaded


async def test_a_config_starts_its_engine(first_model: str) -> None:
    engine = await start_engine(TransformersConfig(model=first_model, device="cpu"))
    assert isinstance(engine, TransformersEngine)
    assert (engine.name, engine.max_model_len) == (first_model, 512)
    await engine.close()
    scripted = await start_engine(ScriptedConfig(tokenizer=first_model, replies=("x",)))
    assert isinstance(scripted, ScriptedEngine)
    await scripted.close()
