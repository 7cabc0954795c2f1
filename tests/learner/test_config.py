"""An invalid value raises one sentence that says what to change."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from learner.config import ComplexityOrder, LearnerConfig, LoraConfig, ScratchConfig, ShuffledOrder
from learner.terms import CrossEntropyTerm, ForwardKLTerm, JSDTerm, ReverseKLTerm, ULDTerm

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
        ({"optimizer": "muon", "strategy": "deepspeed", "zero_stage": 3}, "choose adamw"),
        ({"cpu_offload": True}, "choose strategy fsdp2 or deepspeed, or remove it"),
        ({"compile": True, "strategy": "deepspeed", "zero_stage": 3}, "choose fsdp2 or ddp, or remove it"),
        ({"lora": {"quantize": "nf4"}, "strategy": "fsdp2"}, "lora.quantize needs strategy ddp"),
        ({"lora": {"quantize": "nf4"}, "strategy": "deepspeed"}, "lora.quantize needs strategy ddp"),
        ({"learning_rat": 1.0}, "Extra inputs"),
        ({"terms": [{"stream": "random", "divergence": "uld"}]}, "random picks single ones; choose another"),
        ({"terms": [{"stream": "act", "divergence": "jsd", "beta": 1.5}]}, "less than or equal to 1"),
        (
            {"terms": [{"stream": "act", "divergence": "jsd"}], "teacher_tokenizer": "t"},
            "jsd compares tokens by id, and teacher_tokenizer has other ids; use uld or cross_entropy",
        ),
        ({"terms": [{"stream": "act", "divergence": "jsd", "signal": "exact"}]}, r"add teacher: \{model: FOLDER\}"),
        ({"teacher": {"model": "t"}}, "teacher is used by terms with signal: exact only"),
        (
            {
                "terms": [{"stream": "act", "divergence": "forward_kl", "signal": "exact"}],
                "teacher": {"model": "t"},
                "drop": ["hint"],
            },
            "signal exact lets the teacher read the student's sequences, without the hint segments",
        ),
        (
            {
                "terms": [{"stream": "act", "divergence": "forward_kl", "signal": "exact"}],
                "teacher": {"model": "t"},
                "teacher_tokenizer": "t",
            },
            "forward_kl compares tokens by id",
        ),
        (
            {"order": {"by": "complexity"}, "epochs": None, "max_seconds": 60.0},
            "give epochs or max_tokens as well, or set order to {by: shuffled}",
        ),
        ({"packing": "dense"}, "'auto', 'packed' or 'padded'"),
        ({"keep": "student"}, "'success', 'success_or_student' or 'all'"),
    ],
)
def test_an_invalid_value_is_rejected_with_how_to_fix_it(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        LearnerConfig.model_validate({**GOOD, **change})


def floats(model: type[BaseModel], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every float setting of a model."""
    for name, field in model.model_fields.items():
        types = get_args(field.annotation) or (field.annotation,)
        if float in types:
            yield (*path, name)


FLOATS = [
    *(((), path) for path in floats(LearnerConfig)),
    *(({"order": {"by": "complexity"}}, ("order", *path)) for path in floats(ComplexityOrder)),
    *(({"lora": {}}, ("lora", *path)) for path in floats(LoraConfig)),
    *(({"scratch": {"tokenizer": "t"}}, ("scratch", *path)) for path in floats(ScratchConfig)),
    *(({"terms": [{"stream": "act", "divergence": "jsd"}]}, ("terms", 0, *path)) for path in floats(JSDTerm)),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "much"])
@pytest.mark.parametrize(("around", "path"), FLOATS)
def test_a_value_that_is_not_a_finite_number_is_rejected_in_one_sentence(
    around: dict[str, Any], path: tuple[str | int, ...], value: float | str
) -> None:
    data: dict[str, Any] = {**GOOD, **copy.deepcopy(dict(around))}
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError) as refusal:
        LearnerConfig.model_validate(data)
    (error,) = refusal.value.errors()
    assert error["msg"].startswith(("Input should be a finite number", "Input should be a valid number"))


def test_float_settings_of_every_section_are_covered() -> None:
    assert {("order", "gamma"), ("terms", 0, "weight"), ("terms", 0, "beta"), ("learning_rate",), ("max_seconds",)} <= {
        path for _, path in FLOATS
    }
    assert len(FLOATS) >= 20


@pytest.mark.parametrize(
    ("divergence", "kind"),
    [
        ("cross_entropy", CrossEntropyTerm),
        ("forward_kl", ForwardKLTerm),
        ("reverse_kl", ReverseKLTerm),
        ("jsd", JSDTerm),
        ("uld", ULDTerm),
    ],
)
def test_the_divergence_selects_the_term_class_and_its_signal(divergence: str, kind: type) -> None:
    config = LearnerConfig.model_validate({**GOOD, "terms": [{"stream": "act", "divergence": divergence}]})
    (term,) = config.terms
    assert type(term) is kind
    assert term.signal == ("taken" if divergence == "cross_entropy" else "top_k_tail")


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("success", {("teacher", True), ("student", True)}),
        ("success_or_student", {("teacher", True), ("student", True), ("student", False)}),
        ("all", {("teacher", True), ("student", True), ("student", False), ("teacher", False)}),
    ],
)
def test_keep_selects_episodes_by_role_and_success(keep: str, kept: set[tuple[str, bool]]) -> None:
    config = LearnerConfig.model_validate({**GOOD, "keep": keep})
    assert {(r, s) for r in ("teacher", "student") for s in (True, False) if config.keeps(r, s)} == kept


def test_a_config_round_trips_through_json() -> None:
    config = LearnerConfig.model_validate({**GOOD, "order": {"by": "complexity", "gamma": 2.0}, "lora": {"rank": 4}})
    assert LearnerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("heads", [{"num_heads": 3}, {"num_kv_heads": 3}])
def test_numbers_of_heads_must_divide_the_width(heads: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="multiple"):
        ScratchConfig.model_validate({"tokenizer": "t", **heads})


def test_importing_the_config_loads_no_heavy_package() -> None:
    code = "import sys, learner.config; sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_default_order_is_shuffled_and_a_curriculum_paces() -> None:
    assert isinstance(LearnerConfig.model_validate(GOOD).order, ShuffledOrder)
    assert ComplexityOrder().pace_fraction == 0.3
