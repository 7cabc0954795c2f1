"""The union of all engine configs, discriminated by ``type``, and the function that starts an engine."""

from __future__ import annotations

from typing import Annotated, Protocol, cast

from pydantic import BaseModel

from rollout.engine import Engine
from rollout.extensions.registry import Registry
from rollout.extensions.union import LazyUnion, TypedSettings
from rollout.prompts.styles import StyleName
from rollout.prompts.tokenizer import ChatSettings

ENGINES: Registry[type[BaseModel]] = Registry(
    "stillhouse.engines",
    "engine",
    type,
    {
        "openai": "rollout.engines.openai_engine:OpenAIConfig",
        "scripted": "rollout.engines.scripted:ScriptedConfig",
        "transformers": "rollout.engines.transformers_engine:TransformersConfig",
        "vllm": "rollout.engines.vllm_engine:VllmConfig",
    },
)
EngineConfig = Annotated[TypedSettings, LazyUnion("type", ENGINES.names, ENGINES.load)]


class EngineSettings(Protocol):
    """The config of an engine in another package: a frozen pydantic model that can start its engine.

    It has ``type: Literal["<name>"]``, and ``model`` or ``tokenizer``, the source of the engine's tokenizer.
    """

    async def start(self) -> Engine:
        """Start the engine and wait until it is ready."""


async def start_engine(config: BaseModel, style: StyleName = "react", chat: ChatSettings | None = None) -> Engine:
    """Start an engine and wait until it is ready.

    Args:
        config: which engine to start.
        style: prompt style of the engine's agents; only scripted engines use it.
        chat: chat template of the prompts; engines of other packages do not use it.

    Raises:
        UserError: a model folder does not exist, an API key is missing, or a package is not installed. It is raised
            before any process is started.
    """
    from rollout.engines import openai_engine, scripted, transformers_engine, vllm_engine

    match config:
        case vllm_engine.VllmConfig():
            return await vllm_engine.start(config, chat)
        case openai_engine.OpenAIConfig():
            return await openai_engine.start(config, chat)
        case transformers_engine.TransformersConfig():
            return await transformers_engine.start(config, chat)
        case scripted.ScriptedConfig():
            return await scripted.start(config, style, chat)
        case _:
            return await cast(EngineSettings, config).start()
