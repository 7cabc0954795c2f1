"""The engines that a recipe can name by ``type``, and how one is started."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rollout.engine import Engine
from rollout.engines import openai_engine, scripted, transformers_engine, vllm_engine
from rollout.engines.openai_engine import OpenAIConfig
from rollout.engines.scripted import ScriptedConfig
from rollout.engines.transformers_engine import TransformersConfig
from rollout.engines.vllm_engine import VllmConfig
from rollout.prompts.styles import StyleName

EngineConfig = Annotated[
    VllmConfig | OpenAIConfig | TransformersConfig | ScriptedConfig,
    Field(discriminator="type"),
]


async def start_engine(config: EngineConfig, style: StyleName = "react") -> Engine:
    """Bring an engine up; it is ready when this returns.

    ``style`` is how its agents write a turn, which only a script needs to be told.

    Raises:
        UserError: a model folder that does not exist, a missing API key, a package that is not installed. It is raised
            before any process is started.
    """
    match config:
        case VllmConfig():
            return await vllm_engine.start(config)
        case OpenAIConfig():
            return await openai_engine.start(config)
        case TransformersConfig():
            return await transformers_engine.start(config)
        case ScriptedConfig():
            return await scripted.start(config, style)
