"""A model needs a row for each token id of its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.dry_run.vocabulary import row_findings

WORDS = {"a": 0, "b": 1, "c": 2}


def model(folder: Path, config: object, vocabulary: object = WORDS, added: object = ()) -> str:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("config", "vocabulary", "added"),
    [
        ({"vocab_size": 2}, WORDS, []),
        ({"vocab_size": 3}, WORDS, [{"content": "<|end|>", "id": 3}]),
        ({"vocab_size": 3}, {**WORDS, "far": 900}, []),
        ({"vocab_size": 2}, [["a", 0.0], ["b", 0.0], ["c", 0.0]], []),
        ({"text_config": {"vocab_size": 2}}, WORDS, []),
    ],
)
def test_an_id_beyond_the_rows_is_a_problem(tmp_path: Path, config: object, vocabulary: object, added: object) -> None:
    (finding,) = row_findings("student.engine.model", model(tmp_path, config, vocabulary, added))
    assert finding.fatal
    assert finding.text.startswith("student.engine.model: the tokenizer of")


@pytest.mark.parametrize("config", [{"vocab_size": 3}, {"vocab_size": 128}, {}, {"text_config": None}, []])
def test_padded_rows_and_unknown_sizes_are_no_problem(tmp_path: Path, config: object) -> None:
    assert list(row_findings("learner.model", model(tmp_path, config))) == []


def test_hub_names_and_folders_without_files_are_left_to_the_loading(tmp_path: Path) -> None:
    assert list(row_findings("learner.model", "org/name")) == []
    assert list(row_findings("learner.model", str(tmp_path))) == []
