"""Semantics pinned here: a wrong value is refused with one sentence that says what to change."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from learner.config import CrossEntropyTerm, ForwardKLTerm, LearnerConfig, ScratchConfig

GOOD: dict[str, Any] = {"epochs": 1, "batch_episodes": 4}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": None}, "give a budget"),
        ({"batch_tokens": 100}, "exactly one of batch_episodes and batch_tokens"),
        ({"batch_episodes": None}, "exactly one of batch_episodes and batch_tokens"),
        ({"terms": []}, "terms is empty"),
        ({"terms": [{"stream": "actions", "divergence": "cross_entropy"}]}, "stream 'actions' is unknown; choose one"),
        ({"terms": [{"stream": "act", "divergence": "hinge"}]}, "cross_entropy"),
        ({"model": "a", "scratch": {"tokenizer": "b"}}, "either model or scratch"),
        ({"scratch": {"tokenizer": "b"}, "lora": {}}, "remove lora"),
        ({"optimizer": "muon", "strategy": "fsdp2"}, "choose adamw"),
        ({"learning_rat": 1.0}, "Extra inputs"),
    ],
)
def test_a_wrong_value_says_how_to_mend_it(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        LearnerConfig.model_validate({**GOOD, **change})


def test_terms_are_told_apart_by_their_divergence() -> None:
    terms = [{"stream": "act", "divergence": "cross_entropy"}, {"stream": "reason", "divergence": "forward_kl"}]
    config = LearnerConfig.model_validate({**GOOD, "terms": terms})
    assert isinstance(config.terms[0], CrossEntropyTerm)
    assert isinstance(config.terms[1], ForwardKLTerm)


def test_a_config_survives_its_own_json() -> None:
    config = LearnerConfig.model_validate({**GOOD, "order": {"by": "complexity", "gamma": 2.0}, "lora": {"rank": 4}})
    assert LearnerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("heads", [{"num_heads": 3}, {"num_kv_heads": 3}])
def test_heads_must_divide(heads: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="multiple"):
        ScratchConfig.model_validate({"tokenizer": "t", **heads})


def test_reading_a_config_loads_nothing_heavy() -> None:
    code = "import sys, learner.config; sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
