"""Chat sessions with scripted answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.hints.chat import ChatSession
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer

MakeChatSession = Callable[..., ChatSession]


@pytest.fixture(scope="session")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="session")
def scripted_chat(tokenizer: Tokenizer) -> MakeChatSession:
    """``scripted_chat("one", "two")`` replies "one" first in each conversation, then "two" to all further messages."""

    def make(*replies: str, max_model_len: int = 32768) -> ChatSession:
        config = ScriptedConfig(tokenizer="-", replies=replies, max_model_len=max_model_len)
        return ChatSession(ScriptedEngine(config, tokenizer), tokenizer, "You advise.")

    return make
