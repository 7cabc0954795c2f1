"""A recipe that is sent to a cluster names no path in a folder of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config.load import load_recipe
from cluster.config.paths import path_settings, refuse_relative_paths
from rollout.errors import UserError

REMOTE = "~/runs/mine"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with what a user may have there."""
    for name in ("models/student", "teacher", "math", "household", "runs"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("student.engine.model=./models/student", "student.engine.model"),
        ("student.engine.model=../x", "student.engine.model"),
        ("student.engine.model=models/student", "student.engine.model"),
        ("teacher.engine.model=teacher", "teacher.engine.model"),
        ("teacher.engine.model=a/b/c", "teacher.engine.model"),
        ("learner.model=models/student", "learner.model"),
        ("learner.teacher_tokenizer=./models/student", "learner.teacher_tokenizer"),
        ("hints={bank: bank.parquet}", "hints.bank"),
        ("collect.also=[/data/x, runs/mine]", "collect.also.1"),
        ("environment={type: math, source: gsm8k, data_dir: gsm8k}", "environment.data_dir"),
        ("environment={type: hotpotqa}", None),
        ("learner.model=org/student", None),
        ("learner.model='builtin:household-base-student'", None),
        ("environment={type: math, source: gsm8k, data_dir: data/gsm8k}", "environment.data_dir"),
        ("environment={type: math, source: gsm8k, data_dir: math}", "environment.data_dir"),
        ("retrieval={corpus: passages.jsonl}", "retrieval.corpus"),
    ],
)
def test_a_relative_path_is_refused_and_its_setting_named(override: str, setting: str | None) -> None:
    name = "agent-distillation-math" if "retrieval" in override or "learner.teacher" in override else "quickstart"
    settings = load_recipe(name, [override]).model_dump(mode="json")
    assert [found for found, _ in path_settings(settings)] == ([setting] if setting else [])


def test_shipped_recipes_with_names_of_folders_and_hubs_name_no_relative_path() -> None:
    for name in ("quickstart", "smoke", "own-models", "agent-distillation-math"):
        refuse_relative_paths(load_recipe(name), REMOTE)


def test_the_message_says_what_to_give_and_names_the_other_paths() -> None:
    recipe = load_recipe("quickstart", ["student.engine.model=models/student", "teacher.engine.model=teacher"])
    sentence = r"engine.model is the relative path .*absolute path on the cluster, such as /.*; the same holds for"
    with pytest.raises(UserError, match=sentence):
        refuse_relative_paths(recipe, REMOTE)


@pytest.mark.parametrize("run_dir", ["runs/mine", "mine", "./mine"])
def test_a_relative_run_directory_is_refused_because_a_jobs_folder_is_deleted(run_dir: str) -> None:
    with pytest.raises(UserError, match="--run-dir is the relative path"):
        refuse_relative_paths(load_recipe("smoke"), run_dir)


@pytest.mark.parametrize("run_dir", ["/shared/runs/x", "~/runs/x"])
def test_an_absolute_run_directory_is_accepted(run_dir: str) -> None:
    refuse_relative_paths(load_recipe("smoke"), run_dir)
