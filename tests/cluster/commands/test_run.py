"""Commands that cannot succeed end with one sentence, make no folder and start nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.cli import main

LEARNER = "learner={scratch: {tokenizer: 'builtin:household-tokenizer'}, epochs: 1, batch_episodes: 1"
ENDPOINT = (
    "{type: openai, base_url: 'http://127.0.0.1:9/v1', model: m, tokenizer: 'builtin:household-tokenizer', "
    "api_key_env: null}"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with data sets that are too small or have a mistake."""
    rows = [{"id": "one", "question": "1 + 1?", "answer": "#### 2"}] * 2
    for name, lines in {"twice": rows, "few": rows[:1], "empty": []}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        content = "\n".join(json.dumps(row) for row in lines)
        (tmp_path / "data" / name / "train.jsonl").write_text(content, encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "store").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def math(name: str) -> str:
    return f"environment={{type: math, source: gsm8k, data_dir: data/{name}}}"


RANDOM = "teacher.engine={type: scripted, policy: math-random, tokenizer: 'builtin:math-tokenizer'}"
EXPERT = "teacher.engine={type: scripted, policy: math-expert, tokenizer: 'builtin:math-tokenizer'}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["smoke", "collect.split=typo"], "collect.split: household has no split typo"),
        (["smoke", "evaluate.split=typo"], "evaluate.split: household has no split typo"),
        (["smoke", math("twice"), "evaluate=null", EXPERT], "has the same id as"),
        (["smoke", math("empty"), "evaluate=null", EXPERT], "has no problems"),
        (["smoke", math("missing"), "evaluate=null", EXPERT], "does not exist"),
        (["smoke", "teacher.workers=640"], "CPU at the same time"),
        (["smoke", "teacher.resources.gpus=1000"], "wants 1000 GPU at the same time"),
        (["smoke", "teacher.resources.memory_gib=1e6"], "this machine does not have that much"),
        (["smoke", "teacher.resources.custom={TPU: 1}"], "asks for TPU"),
        (["smoke", f"teacher.engine={ENDPOINT}"], "http://127.0.0.1:9/v1"),
        (["smoke", LEARNER + ", model: x}"], "give either model or scratch"),
        (
            ["smoke", LEARNER + "}", "student=null", "collect={teacher_episodes: 1, also: [store]}", "evaluate=null"],
            "holds no episode",
        ),
        (
            ["smoke", LEARNER + "}", "student=null", "collect={teacher_episodes: 1, also: [typo]}", "evaluate=null"],
            "there is no typo",
        ),
        (["smoke", "hints={bank: typo.parquet}"], "there is no typo.parquet"),
        (
            ["smoke", "agent.max_tokens=yes"],
            'must be a valid integer, unable to parse string as an integer (got "yes")',
        ),
        (["smoke", "agent.max_tokens=true"], "must be a number (got true)"),
        (["smoke", "--run-dir", "/proc/x"], "/proc/x cannot be written"),
        (["smoke", "--run-dir", "x" * 300], "file name too long"),
        (["smoke", "--run-dir", "file"], "it is a file"),
        (["smoke", "--run-dir", "file/below"], "a part of the path is a file"),
        (["smoke", "--run-dir", ""], "is no path"),
        (["x" * 300], "file name too long"),
        (["file"], "holds no settings"),
        (["smoke", "--address", "http://head:8265"], "which only `stillhouse submit` uses"),
        (["smoke", "--address", ""], "it is empty"),
        (["smoke", f"teacher.engine.tokenizer={'x' * 300}"], "file name too long"),
    ],
)
def test_a_run_that_cannot_succeed_is_refused_and_leaves_nothing(
    arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    local = [] if "--address" in arguments else ["--address", "local"]
    with pytest.raises(SystemExit) as end:
        main(["run", *arguments, *local])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


def test_several_problems_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "smoke", "collect.split=typo", "teacher.workers=640", "--address", "local"])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert "the run would fail for 2 reasons:" in err
    assert len(err.splitlines()) == 3


def test_a_run_prints_what_the_dry_run_notes_and_then_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = ["student=null", "collect.student_episodes=0", "evaluate=null", "collect.teacher_episodes=4"]
    with pytest.raises(SystemExit) as end:
        main(
            [
                "run",
                "smoke",
                math("few"),
                EXPERT.replace("expert", "random"),
                *alone,
                "--run-dir",
                "run",
                "--address",
                "local",
            ]
        )
    assert end.value.code == 0
    assert "note: collect requests 4 tasks of math train, but only 1 exist" in capsys.readouterr().out
    assert (folder / "run" / "report.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["status", "x" * 300], "file name too long"),
        (["report", "file"], "is not a run directory"),
        (["status", "/proc"], "is not a run directory"),
        (["study", "x" * 300], "file name too long"),
        (
            ["submit", "smoke", "--address", "http://127.0.0.1:9", "--run-dir", "runs/x"],
            "--run-dir is the relative path",
        ),
        (
            ["submit", "quickstart", "student.engine.model=./x", "--address", "http://127.0.0.1:9"],
            "is the relative path ./x",
        ),
        (["submit", "smoke", "--address", "http://127.0.0.1:99999"], "http://HEAD:8265"),
    ],
)
def test_other_commands_end_with_one_sentence_too(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
