"""A model that gives fixed answers, to be asked in the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.hints.asking import Asker
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer

MakeAsker = Callable[..., Asker]


@pytest.fixture(scope="session")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="session")
def answering(tokenizer: Tokenizer) -> MakeAsker:
    """``answering("one", "two")``: the first answer of each conversation, the second, the last one repeated."""

    def make(*replies: str, max_model_len: int = 32768) -> Asker:
        config = ScriptedConfig(tokenizer="-", replies=replies, max_model_len=max_model_len)
        return Asker(ScriptedEngine(config, tokenizer), tokenizer, "You advise.")

    return make
