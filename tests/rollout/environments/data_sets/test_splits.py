"""Splits are found in every layout, called by any name that means them, and never merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.data_sets.splits import canonical, choose, find_splits, split_in
from rollout.environments.hotpotqa.datasets import QuestionFiles
from rollout.environments.hotpotqa.environment import HotpotQAConfig, HotpotQAEnvironment
from rollout.environments.math.datasets import DataSet
from rollout.errors import UserError
from tests.rollout.environments.data_sets.layouts import Row, save_dict_to_disk, save_to_disk, write


def problems(first: int, count: int = 3) -> list[Row]:
    return [{"problem": f"What is {n}?", "answer": str(n)} for n in range(first, first + count)]


def questions(first: int, count: int = 3) -> list[Row]:
    return [{"question": f"Who is {n}?", "answer": f"N {n}"} for n in range(first, first + count)]


def answers(source: DataSet, split: str) -> list[int]:
    return sorted(int(str(task.payload["answer"])) for task in source.tasks(split, 100))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("validation", "dev"),
        ("valid", "dev"),
        ("val", "dev"),
        ("Dev", "dev"),
        ("train", "train"),
        ("test", "test"),
        ("valid_seen", None),
        ("main", None),
    ],
)
def test_names_of_splits_have_one_meaning(name: str, split: str | None) -> None:
    assert canonical(name) == split


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("validation-00000-of-00001.parquet", "dev"),
        ("my_dev_50.json", "dev"),
        ("hotpot_train_v1.1.json", "train"),
        ("val.jsonl", "dev"),
        ("contest_questions.json", None),
        ("devices.jsonl", None),
    ],
)
def test_the_split_in_the_name_of_a_file_is_a_word_of_it(file: str, split: str | None) -> None:
    assert split_in(file) == split


def test_a_file_name_with_two_splits_is_refused() -> None:
    with pytest.raises(UserError, match="train_dev.json has two splits, dev and train; rename it"):
        split_in("train_dev.json")


@pytest.mark.parametrize(
    ("file", "split"),
    [("validation-00000-of-00001.parquet", "dev"), ("valid.jsonl", "dev"), ("questions.csv", "test")],
)
def test_a_single_question_file_has_the_split_of_its_name(tmp_path: Path, file: str, split: str) -> None:
    source = QuestionFiles("nq", str(write(tmp_path / file, questions(0))))
    assert source.splits() == (split,)
    assert {task.id for task in source.tasks(split, 9)} == {f"hotpotqa/nq/{split}/{n}" for n in range(3)}


def test_a_single_problem_file_keeps_its_name_and_a_shard_has_the_word_before_its_number(tmp_path: Path) -> None:
    assert DataSet("math", str(write(tmp_path / "mine.jsonl", problems(0)))).splits() == ["mine"]
    shard = DataSet("math", str(write(tmp_path / "validation-00001-of-00007.parquet", problems(0))))
    assert (shard.splits(), answers(shard, "valid")) == (["dev"], [0, 1, 2])


def test_shards_are_read_in_order_as_one_split(tmp_path: Path) -> None:
    for number in (1, 0, 2):
        write(tmp_path / "data" / f"train-{number:05d}-of-00003-cc80520326.parquet", problems(10 * number))
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", problems(90))
    source = DataSet("math", str(tmp_path))
    assert source.splits() == ["dev", "train"]
    tasks = {task.id: task.payload["answer"] for task in source.tasks("train", 100)}
    assert (tasks["math/math/train/0"], tasks["math/math/train/3"], tasks["math/math/train/8"]) == ("0", "10", "22")
    for name in ("dev", "validation", "valid", "val"):
        assert answers(source, name) == [90, 91, 92]
        assert source.has_split(name)
        assert {task.split for task in source.tasks(name, 9)} == {"dev"}
    assert not source.has_split("test")


def test_a_missing_or_repeated_shard_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", problems(0))
    with pytest.raises(UserError, match=r"shard 1 of the 2 shards of train is missing; download the rest"):
        DataSet("math", str(tmp_path)).tasks("train", 1)
    write(tmp_path / "train-00001-of-00002.parquet", problems(5))
    write(tmp_path / "train-00001-of-00002.jsonl", problems(5))
    with pytest.raises(UserError, match="there are 3 files for the 2 shards of train"):
        DataSet("math", str(tmp_path)).tasks("train", 1)


def test_the_parent_folder_of_math_does_not_merge_train_and_test(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("test", 2)):
        row = {"problem": "P?", "solution": rf"\boxed{{{number}}}"}
        (tmp_path / "MATH" / split / "algebra").mkdir(parents=True)
        (tmp_path / "MATH" / split / "algebra" / "7.json").write_text(json.dumps(row))
    for folder in (tmp_path, tmp_path / "MATH"):
        source = DataSet("math", str(folder))
        assert source.splits() == ["test", "train"]
        assert (answers(source, "train"), answers(source, "test")) == ([1], [2])
        assert [task.id for task in source.tasks("train", 9)] == ["math/math/train/algebra/7"]
    inner = DataSet("math", str(tmp_path / "MATH" / "train"))
    assert [task.id for task in inner.tasks("algebra", 9)] == ["math/math/algebra/7"]


def test_several_data_sets_below_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("main", "socratic"):
        write(tmp_path / name / "train-00000-of-00001.parquet", [{"question": "Q?", "answer": "#### 1"}])
    source = DataSet("gsm8k", str(tmp_path))
    with pytest.raises(UserError, match=r"'train' in several places \(main/train-.*, socratic/train-.*not merged"):
        source.tasks("train", 1)
    assert len(DataSet("gsm8k", str(tmp_path / "main")).tasks("train", 1)) == 1


def test_the_subjects_of_math_are_one_data_set(tmp_path: Path) -> None:
    for number, subject in enumerate(("algebra", "geometry", "number_theory")):
        write(tmp_path / subject / "train-00000-of-00001.parquet", problems(10 * number))
        write(tmp_path / subject / "test-00000-of-00001.parquet", problems(10 * number + 5))
    source = DataSet("math", str(tmp_path))
    assert source.splits() == ["test", "train"]
    assert answers(source, "train") == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_a_folder_named_as_a_split_with_files_of_another_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0000.parquet", problems(0))
    write(tmp_path / "train" / "test.jsonl", problems(5))
    with pytest.raises(UserError, match="train is named as one split, but has files of test; move them"):
        DataSet("math", str(tmp_path)).tasks("train", 1)


def test_a_file_whose_rows_are_of_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "split": split} for row, split in zip(problems(0, 2), ("train", "test"), strict=True)]
    with pytest.raises(UserError, match="line 2 is of the split test, but .*line 1 of train; write one file for each"):
        DataSet("math", str(write(tmp_path / "all.jsonl", rows))).tasks("all", 9)


def test_a_saved_dataset_is_read_with_its_own_split_and_files(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "mine", problems(0, 5), "validation", shards=2)
    source = DataSet("math", str(folder))
    assert source.splits() == ["dev"]
    assert answers(source, "validation") == [0, 1, 2, 3, 4]
    assert DataSet("math", str(save_to_disk(tmp_path / "other", problems(7), None))).splits() == ["other"]
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"mine lacks data-00001-of-00002\.arrow; copy or save the data set again"):
        source.tasks("dev", 1)


def test_a_saved_dataset_dict_has_its_splits(tmp_path: Path) -> None:
    source = QuestionFiles("nq", str(save_dict_to_disk(tmp_path, {"train": questions(0), "validation": questions(9)})))
    assert source.splits() == ["train", "dev"]
    assert {task.payload["answers"] for task in source.tasks("dev", 9)} == {"N 9", "N 10", "N 11"}


@pytest.mark.parametrize("splits", [["../secret"], [".."], ["/etc"], "train", [1]])
def test_metadata_cannot_lead_out_of_its_folder(tmp_path: Path, splits: Any) -> None:
    save_dict_to_disk(tmp_path, {"train": problems(0)})
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(UserError, match=r"dataset_dict\.json lists no splits"):
        find_splits(tmp_path)


def test_plain_files_keep_the_names_of_their_splits_and_answer_to_the_others(tmp_path: Path) -> None:
    """Ids of tasks contain the name, so a run with ``split: validation`` goes on."""
    write(tmp_path / "validation.jsonl", problems(0))
    source = DataSet("math", str(tmp_path))
    assert source.splits() == ["validation"]
    assert {task.id for name in ("validation", "dev") for task in source.tasks(name, 9)} == {
        f"math/math/validation/{n}" for n in range(3)
    }


def test_a_plain_file_comes_before_the_same_split_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "train.json", problems(0))
    write(tmp_path / "data" / "train-00000-of-00001.parquet", problems(5))
    write(tmp_path / "data" / "test-00000-of-00001.parquet", problems(7))
    source = DataSet("math", str(tmp_path))
    assert (answers(source, "train"), answers(source, "test")) == ([0, 1, 2], [7, 8, 9])


def test_a_split_may_be_named_by_the_name_of_one_file(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", problems(0))
    tasks = DataSet("math", str(tmp_path)).tasks("train-00000-of-00001", 9)
    assert {task.id for task in tasks} == {f"math/math/train-00000-of-00001/{n}" for n in range(3)}


def test_a_word_in_a_file_name_finds_the_only_split_that_has_it(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k_train.jsonl", problems(0))
    write(tmp_path / "gsm8k_test_300.jsonl", problems(5))
    assert answers(DataSet("math", str(tmp_path)), "train") == [0, 1, 2]
    write(tmp_path / "other_train.jsonl", problems(9))
    with pytest.raises(UserError, match="'train' in several places"):
        DataSet("math", str(tmp_path)).tasks("train", 1)


def test_metadata_and_hidden_files_are_no_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", problems(0))
    for name in ("dataset_infos.json", "id_aliases.json", ".cache.json", "._train.jsonl"):
        (tmp_path / name).write_text("{}")
    write(tmp_path / ".cache" / "test.jsonl", problems(0))
    assert [split.name for split in find_splits(tmp_path)] == ["train"]


def test_questions_of_several_files_keep_apart_and_are_found_again(tmp_path: Path) -> None:
    rows = [
        {**row, "context": {"title": [f"Page {row['answer']}"], "sentences": [["It has a text."]]}}
        for row in questions(0, 4)
    ]
    write(tmp_path / "train" / "0000.parquet", rows[:2])
    write(tmp_path / "train" / "0001.parquet", rows[2:])
    source = QuestionFiles("hotpotqa", str(tmp_path))
    tasks = source.tasks("train", 9)
    assert {task.id.rpartition("/")[2] for task in tasks} == {"0", "1", "1-0", "1-1"}
    (task,) = [task for task in tasks if task.id.endswith("/1-1")]
    for corpus, pages in (("own", {3}), ("pooled", {0, 1, 2, 3})):
        environment = HotpotQAEnvironment(HotpotQAConfig(source="hotpotqa", data=str(tmp_path), corpus=corpus))
        assert "Who is 3?" in environment.reset(task).observation
        found = {n for n in range(4) if environment.step(f"search[Page N {n}]").observation.startswith("It has")}
        assert found == pages


def test_choose_names_nothing_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", problems(0))
    assert choose(find_splits(tmp_path), "dev", tmp_path) is None
    assert find_splits(tmp_path / "absent") == []


def test_folders_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    write(tmp_path.joinpath(*"abcdefghij", "train.jsonl"), problems(0))
    with pytest.raises(UserError, match="more than 8 folders deep"):
        find_splits(tmp_path)
