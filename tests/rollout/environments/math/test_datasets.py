"""Data set files become tasks; an error in a file is reported in one sentence with its location."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.environments.math.config import MathConfig
from rollout.environments.math.datasets import DataSet
from rollout.environments.math.environment import MathEnvironment
from rollout.errors import UserError

REPOSITORY = Path(__file__).parents[4]
DATA = REPOSITORY / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data") / "math"
GSM = [
    {"question": f"What is {n} and {n}?", "answer": f"It is <<{n}+{n}={2 * n}>>.\n#### {2 * n:,}"}
    for n in range(900, 910)
]

NO_QUESTION = {"question": " ", "answer": "#### 1"}
DUPLICATES = [{**GSM[0], "id": 7}, GSM[1], {**GSM[2], "id": 7}]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def only_task(source: str, path: Path) -> Any:
    """The only task of a file."""
    folder = DataSet(source, str(path))
    (task,) = folder.tasks(folder.splits()[0], 10)
    return task


def test_gsm8k_files_are_splits_and_the_answer_follows_the_marker(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", lines(GSM))
    write(tmp_path / "test.jsonl.gz", gzip.compress(lines(GSM[:2])))
    write(tmp_path / "LICENSE", b"text")
    source = DataSet("gsm8k", str(tmp_path))
    assert source.splits() == ["test", "train"]
    tasks = source.tasks("train", 100)
    assert len(tasks) == 10
    assert {task.payload["answer"] for task in tasks} >= {"1,800", "1,818"}
    assert sorted(task.id for task in tasks)[0] == "math/gsm8k/train/0"
    assert tasks[:4] == source.tasks("train", 4)
    assert tasks != source.tasks("train", 100, seed=1)
    assert len(source.tasks("test", 100)) == 2


def test_a_single_file_is_a_data_set(tmp_path: Path) -> None:
    source = DataSet("gsm8k", str(write(tmp_path / "part.jsonl", lines(GSM))))
    assert (source.splits(), len(source.tasks("part", 3))) == (["part"], 3)


def test_integral_targets_of_gsm_hard_lose_their_decimal_point(tmp_path: Path) -> None:
    path = write(tmp_path / "gsmhardv2.jsonl", lines([{"input": "Q?", "code": "", "target": 5040000.0}]))
    assert only_task("gsm_hard", path).payload == {"problem": "Q?", "answer": "5040000"}
    path = write(tmp_path / "other.jsonl", lines([{"input": "Q?", "target": 0.25}]))
    assert only_task("gsm_hard", path).payload["answer"] == "0.25"


def test_math_is_read_from_folders_of_files_and_from_lines(tmp_path: Path) -> None:
    problem = {"problem": "P?", "level": "Level 5", "type": "Algebra", "solution": r"So \boxed{\frac{1}{2}}."}
    write(tmp_path / "folders" / "train" / "algebra" / "7.json", json.dumps(problem).encode())
    write(tmp_path / "folders" / "train" / "geometry" / "7.json", json.dumps({**problem, "type": "Geometry"}).encode())
    tasks = DataSet("math", str(tmp_path / "folders")).tasks("train", 9)
    assert {(task.id, task.task_type) for task in tasks} == {
        ("math/math/train/algebra/7", "Algebra"),
        ("math/math/train/geometry/7", "Geometry"),
    }
    assert tasks[0].payload == {"problem": "P?", "answer": r"\frac{1}{2}", "level": "Level 5"}
    row = {
        "problem": "P?",
        "solution": r"\boxed{1}",
        "answer": "2",
        "subject": "Number Theory",
        "level": 3,
        "unique_id": "a/1",
    }
    task = only_task("math", write(tmp_path / "test.jsonl", lines([row])))
    assert (task.id, task.task_type) == ("math/math/test/a/1", "Number Theory")
    assert task.payload == {"problem": "P?", "answer": "2", "level": "3"}


def test_aime_is_read_from_four_formats(tmp_path: Path) -> None:
    rows = [{"ID": "2024-I-1", "Problem": "P?", "Answer": 204}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    files = [
        tmp_path / "a.parquet",
        write(tmp_path / "b.json", json.dumps(rows).encode()),
        write(tmp_path / "c.jsonl", lines(rows)),
        write(tmp_path / "d.csv", b'\xef\xbb\xbfID,Question,Answer\n2024-I-1,"P?",204\n'),
    ]
    for file in files:
        task = only_task("aime", file)
        assert task.payload == {"problem": "P?", "answer": "204"}
        assert task.id == f"math/aime/{file.stem}/2024-I-1"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.jsonl",
            lines([GSM[0], {"question": "Q?", "answer": "no mark"}]),
            r"a\.jsonl, line 2 has a question without an answer: nothing in answer after ####",
        ),
        ("a.jsonl", lines([{"question": "Q?"}]), "line 1 has a question without an answer"),
        ("a.jsonl", lines([NO_QUESTION]), "line 1 has no problem text in its field question"),
        (
            "a.jsonl",
            lines([{"input": "Q?", "target": 1}]),
            "no field question; its fields are input, target; check that it is GSM8K",
        ),
        (
            "a.jsonl",
            lines(DUPLICATES),
            r"line 3 has the same id as .*a\.jsonl, line 1",
        ),
        ("a.jsonl", lines(GSM)[:-30], r"line 10, is not JSON or is cut short"),
        ("a.jsonl", b'\n{"question": "\xff"}', r"a\.jsonl, line 2, is not UTF-8 \(byte 0xff at position 14\)"),
        ("a.jsonl", b"[1]\n", "line 1, is no JSON object"),
        ("a.jsonl", b"\n", "has no problems"),
        ("a.jsonl.gz", gzip.compress(lines(GSM), mtime=0)[:60], "cut short or damaged"),
        ("a.jsonl.gz", lines(GSM), "cut short or damaged"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.csv", b"question,answer\nQ?\n", "line 2, has not as many fields as the header"),
        ("a.csv", b"question,answer\nQ?,#### 1\n\xff,#### 1\n", "is not UTF-8"),
        ("a.parquet", b"PAR1 no", "cut short or no Parquet file"),
    ],
)
def test_an_invalid_file_is_reported_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=sentence) as caught:
        DataSet("gsm8k", str(tmp_path)).tasks("a", 10)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_math_problem_without_a_box_has_no_answer(tmp_path: Path) -> None:
    write(tmp_path / "train" / "1.json", json.dumps({"problem": "P?", "solution": "It is 4."}).encode())
    with pytest.raises(UserError, match=r"1\.json, row 1 has a .* answer: nothing in answer nor a .boxed"):
        DataSet("math", str(tmp_path)).tasks("train", 1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gsm8k", r"train\.jsonl and test\.jsonl; get it from .*openai/grade-school-math"),
        ("gsm_hard", r"gsmhardv2\.jsonl; get it from .*reasoning-machines/gsm-hard"),
        ("math", "a .json file for each problem.*hendrycks/math"),
        ("aime", "columns problem and answer; get it .*aime_2024"),
    ],
)
def test_missing_data_is_reported_with_the_file_and_its_origin(tmp_path: Path, source: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"does not exist; .* is expected there: .*{expected}"):
        DataSet(source, str(tmp_path / "absent")).tasks("train", 1)
    with pytest.raises(UserError, match="has no data file"):
        DataSet(source, str(tmp_path)).splits()


def test_an_unknown_split_is_refused_with_the_existing_ones(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", lines(GSM))
    with pytest.raises(UserError, match=r"no split 'valid'.*choose one of train"):
        DataSet("gsm8k", str(tmp_path)).tasks("valid", 1)


@pytest.mark.skipif(not DATA.is_dir(), reason="no GSM8K files: set STILLHOUSE_TEST_DATA")
def test_the_official_files_of_gsm8k_load_and_their_answers_are_right() -> None:
    source = DataSet("gsm8k", str(DATA))
    assert {split: len(source.tasks(split, 10_000)) for split in source.splits()} == {
        "gsm8k_test_300": 300,
        "gsm8k_train": 7473,
    }
    environment = MathEnvironment(MathConfig(source="gsm8k", data_dir=str(DATA)))
    for task in source.tasks("gsm8k_test_300", 300):
        assert environment.reset(task).observation
        assert environment.step(f"finish[{task.payload['answer']}]").success
