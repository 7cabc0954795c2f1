"""The engines that a recipe can name by ``type``, and how one is started."""

from __future__ import annotations

from typing import Annotated, Protocol, cast

from pydantic import BaseModel

from rollout.engine import Engine
from rollout.extensions.registry import Registry
from rollout.extensions.union import LazyUnion, TypedSettings
from rollout.prompts.styles import StyleName

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
    """What makes an engine of another package available by name: a frozen pydantic model that can start it.

    Besides ``type: Literal["<name>"]`` it has ``model`` or ``tokenizer``, which says whose tokenizer the engine speaks.
    """

    async def start(self) -> Engine:
        """Bring the engine up."""
        ...


async def start_engine(config: BaseModel, style: StyleName = "react") -> Engine:
    """Bring an engine up; it is ready when this returns.

    ``style`` is how its agents write a turn, which only a script needs to be told.

    Raises:
        UserError: a model folder that does not exist, a missing API key, a package that is not installed. It is raised
            before any process is started.
    """
    from rollout.engines import openai_engine, scripted, transformers_engine, vllm_engine

    match config:
        case vllm_engine.VllmConfig():
            return await vllm_engine.start(config)
        case openai_engine.OpenAIConfig():
            return await openai_engine.start(config)
        case transformers_engine.TransformersConfig():
            return await transformers_engine.start(config)
        case scripted.ScriptedConfig():
            return await scripted.start(config, style)
        case _:
            return await cast(EngineSettings, config).start()
