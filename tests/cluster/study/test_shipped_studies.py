"""The shipped studies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.study.config import load_study, study_names, study_yaml
from cluster.study.runs import Job, make_jobs


def shipped() -> Iterator[Job]:
    for name in study_names():
        yield from make_jobs(load_study(name, ["seeds=1"]), Path("/out"))


def test_there_is_a_shipped_study_for_each_paper_and_all_its_recipes_load() -> None:
    assert study_names() == ["agent-distillation", "hints", "on-policy", "sad"]
    for job in shipped():
        assert job.recipe.learner is None or job.recipe.learner.max_tokens is not None, job.title


def test_shipped_studies_are_listed_with_their_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "studies"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == study_names()
    assert all(len(line.split()) > 5 for line in lines)


def test_a_study_written_as_yaml_reads_back_equal(tmp_path: Path) -> None:
    for name in study_names():
        study = load_study(name, ["all.agent.max_steps=9"])
        (tmp_path / "again.yaml").write_text(study_yaml(study))
        assert load_study(str(tmp_path / "again.yaml")) == study
