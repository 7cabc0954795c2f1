"""A model that gives fixed answers, to be asked in the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.hints.asking import ChatSession
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer

MakeChatSession = Callable[..., ChatSession]


@pytest.fixture(scope="session")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="session")
def answering(tokenizer: Tokenizer) -> MakeChatSession:
    """``answering("one", "two")``: the first answer of each conversation, the second, the last one repeated."""

    def make(*replies: str, max_model_len: int = 32768) -> ChatSession:
        config = ScriptedConfig(tokenizer="-", replies=replies, max_model_len=max_model_len)
        return ChatSession(ScriptedEngine(config, tokenizer), tokenizer, "You advise.")

    return make
