"""Generation settings that transformers loads and refuses to save are repaired."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from learner.check_student import mistakes
from learner.config import ScratchConfig
from learner.generation_config import is_valid, repair
from learner.model import from_scratch
from rollout.models import model_folder


@pytest.mark.parametrize(
    ("settings", "repaired"),
    [
        ({"temperature": 0.6}, {"do_sample": True, "temperature": 0.6}),
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20}, {"do_sample": True, "top_p": 0.9, "top_k": 20}),
        ({"top_k": 20}, {"do_sample": True, "top_k": 20}),
        ({"min_p": 0.1}, {"do_sample": True, "min_p": 0.1}),
        ({"temperature": 0.6, "do_sample": False}, {"do_sample": False, "temperature": None}),
        ({"temperature": 0.0}, {"do_sample": None, "temperature": None}),
        ({"length_penalty": 2.0}, {"do_sample": None, "length_penalty": None}),
        ({"early_stopping": True, "temperature": 0.6}, {"do_sample": True, "early_stopping": None}),
        ({"temperature": 0.6, "do_sample": True}, {"do_sample": True, "temperature": 0.6}),
        ({"max_new_tokens": 7}, {"do_sample": None, "max_new_tokens": 7}),
    ],
)
def test_settings_keep_their_meaning_and_can_be_saved(
    settings: dict[str, Any], repaired: dict[str, Any], tmp_path: Path
) -> None:
    config = GenerationConfig(**settings, repetition_penalty=1.05)
    repair(config)
    assert is_valid(config)
    config.save_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in repaired} == repaired
    assert GenerationConfig.from_pretrained(tmp_path).repetition_penalty == 1.05


def test_a_model_without_generation_settings_needs_no_repair() -> None:
    repair(None)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny model and its tokenizer."""
    folder = tmp_path_factory.mktemp("student")
    tokenizer = model_folder("builtin:household-tokenizer")
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 16}
    from_scratch(ScratchConfig.model_validate({"tokenizer": tokenizer, **sizes})).save_pretrained(folder)
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    return str(folder)


def request(**settings: object) -> dict[str, object]:
    return {"epochs": 1, "batch_episodes": 1, **settings}


@pytest.mark.parametrize("with_weights", [True, False])
@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 2}}])
def test_a_student_with_such_settings_can_be_saved(
    student: str, tmp_path: Path, with_weights: bool, settings: dict[str, object]
) -> None:
    folder = tmp_path / "student"
    shutil.copytree(student, folder)
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6}), encoding="utf-8")
    assert mistakes(request(**settings), str(folder), with_weights=with_weights) == []
    assert json.loads((folder / "generation_config.json").read_text(encoding="utf-8")) == {"temperature": 0.6}


def test_a_student_whose_files_are_damaged_is_found_before_the_run(student: str, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    shutil.copytree(student, folder)
    (folder / "config.json").write_text("{", encoding="utf-8")
    for with_weights in (True, False):
        (mistake,) = mistakes(request(), str(folder), with_weights=with_weights)
        assert str(folder) in mistake
