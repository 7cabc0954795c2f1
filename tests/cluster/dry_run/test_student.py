"""The untrained student is saved once before a run, in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.dry_run.findings import Finding
from cluster.dry_run.student import student_check


def found(model: str) -> list[Finding]:
    engine = "student.engine={type: scripted, policy: household-random, tokenizer: 'builtin:household-tokenizer'}"
    with student_check(load_recipe("quickstart", [f"learner.model={model}", engine])) as findings:
        return list(findings())


@pytest.mark.slow
def test_damaged_weights_are_a_problem(toy_model: str, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    shutil.copytree(toy_model, folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    (finding,) = found(str(folder))
    assert finding.fatal
    assert "is damaged or incomplete" in finding.text


def test_a_check_that_takes_too_long_is_given_up(toy_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.dry_run.student.TIMEOUT_S", 0.01)
    (finding,) = found(toy_model)
    assert not finding.fatal


@pytest.mark.parametrize("model", ["'builtin:household-base-student'", "org/not-downloaded", "/nowhere/model"])
def test_shipped_models_and_those_that_are_not_here_start_no_process(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("subprocess.Popen", None)
    assert found(model) == []
