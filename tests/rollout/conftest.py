"""A tiny byte-level tokenizer, as models have it, in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.episode.config import AgentConfig
from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.tiers import available_tiers

OWN_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "You are in the middle of a room. Looking quickly around you, you see a fridge 1, and a cabinet 2.",
    "You arrive at fridge 1. The fridge 1 is closed. You pick up the mug 1 from the countertop 1. Nothing happens.",
    "go to take move clean heat cool open close. Thought: I need a mug. Your task is to: put a mug in cabinet.",
] * 5

MakeModel = Callable[..., str]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Writes a tokenizer folder: ``make_model(template, special=[...], added=[...])`` gives its path."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def make(
        template: str | None = OWN_TEMPLATE,
        *,
        special: list[str] = SPECIAL,
        added: tuple[str, ...] = (),
        bos: str | None = None,
    ) -> str:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=[*special, bos] if bos else special,
            initial_alphabet=alphabet,
            show_progress=False,
        )
        tokenizer.train_from_iterator(CORPUS, trainer)
        plain = ("Thought:", "\nAction:", *added)
        tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
        folder: Path = tmp_path_factory.mktemp("model")
        outer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=bos,
            eos_token=special[1],
            pad_token=special[0],
            chat_template=template,
        )
        outer.save_pretrained(str(folder))
        return str(folder)

    return make


@pytest.fixture(scope="session")
def model(make_model: MakeModel) -> str:
    """A folder whose tokenizer has a chat template and ``Thought:`` and ``\\nAction:`` as single tokens."""
    return make_model()


@pytest.fixture(scope="session")
def code_agent() -> AgentConfig:
    """An agent that writes code, where that can be run."""
    if not any(status.works for status in available_tiers()[:2]):
        pytest.skip("no isolated sandbox works on this machine")
    return AgentConfig(style="codeact", sandbox=SandboxConfig(packages=(), preload=()))
