"""Question files in official and mirrored formats, and errors in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.environments.hotpotqa.datasets import QuestionFiles
from rollout.environments.hotpotqa.questions import LoadedQuestion, load_questions
from rollout.errors import UserError
from rollout.tools.retrieval.documents import Document

HOTPOT: dict[str, Any] = {
    "_id": "5a",
    "question": "Where does the mill stand?",
    "answer": "by the Osk",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Mill", 0], ["Osk", 1], ["Mill", 2]],
    "context": [["Mill", ["It stands by the Osk.", " It grinds."]], ["Osk", ["A river."]]],
}
MIRRORED = {
    **{key: HOTPOT[key] for key in ("question", "answer", "type", "level")},
    "id": "5a",
    "supporting_facts": {"title": ["Mill", "Osk", "Mill"], "sent_id": [0, 1, 2]},
    "context": {"title": ["Mill", "Osk"], "sentences": [["It stands by the Osk.", " It grinds."], ["A river."]]},
}
EXPECTED = LoadedQuestion(
    "5a",
    "Where does the mill stand?",
    ("by the Osk",),
    "bridge",
    (Document("0", "Mill", "It stands by the Osk. It grinds."), Document("1", "Osk", "A river.")),
    ("Mill", "Osk"),
)
MUSIQUE = {
    "id": "2hop__12_34",
    "question": "Who?",
    "answer": "Tavin Orlo",
    "answer_aliases": ["T. Orlo", "Orlo"],
    "answerable": True,
    "paragraphs": [
        {"idx": 0, "title": "Mill", "paragraph_text": "One.", "is_supporting": True},
        {"idx": 1, "title": "Osk", "paragraph_text": "Two.", "is_supporting": False},
        {"idx": 2, "title": "Mill", "paragraph_text": "Three.", "is_supporting": True},
    ],
}


def written(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ".jsonl" in path.name:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def test_hotpotqa_is_read_in_its_official_format_and_from_parquet(tmp_path: Path) -> None:
    for path in (written(tmp_path / "a.json", [HOTPOT]), written(tmp_path / "a.parquet", [MIRRORED])):
        assert load_questions(path) == {"5a": EXPECTED}


def test_2wiki_has_the_format_of_hotpotqa_with_more_fields(tmp_path: Path) -> None:
    row = {**HOTPOT, "evidences": [["Mill", "stands by", "Osk"]], "type": "compositional"}
    question = load_questions(written(tmp_path / "dev.json", [row]))["5a"]
    assert (question.type, question.pages) == ("compositional", EXPECTED.pages)


def test_musique_has_aliases_and_several_paragraphs_per_page(tmp_path: Path) -> None:
    unanswerable = {**MUSIQUE, "id": "2hop__99", "answerable": False}
    questions = load_questions(written(tmp_path / "a.jsonl", [MUSIQUE, unanswerable]))
    assert questions == {
        "2hop__12_34": LoadedQuestion(
            "2hop__12_34",
            "Who?",
            ("Tavin Orlo", "T. Orlo", "Orlo"),
            "2hop",
            (Document("0", "Mill", "One.\nThree."), Document("1", "Osk", "Two.")),
            ("Mill",),
        )
    }


def test_bamboogle_is_a_table_of_questions_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "bamboogle.csv"
    path.write_text('\ufeffQuestion,Answer\n"Who, then?",Tavin\n', encoding="utf-8")
    assert load_questions(path) == {"0": LoadedQuestion("0", "Who, then?", ("Tavin",), "", (), ())}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([HOTPOT, {**HOTPOT, "_id": "5b", "answer": " "}], r"row 2: the question '5b' has no answer; .* use train or"),
        ([{key: value for key, value in HOTPOT.items() if key != "answer"}], r"row 1: the question '5a' has no answer"),
        ([HOTPOT, HOTPOT], r"row 2: the id '5a' occurs twice"),
        ([{**HOTPOT, "question": None}], r"row 1, has no question"),
        ([{**HOTPOT, "context": [["Mill"]]}], r"the paragraphs of question '5a' have an unknown format"),
        ([{**HOTPOT, "context": [["Mill", "A text."]]}], r"unknown format \(sentences must be a list of strings\)"),
        ([{**HOTPOT, "context": {"title": ["Mill"]}}], r"unknown format"),
        ([{**MUSIQUE, "paragraphs": [{"title": "Mill"}]}], r"unknown format \('paragraph_text'\)"),
        ([], "has no questions"),
    ],
)
def test_an_error_in_a_question_is_reported_with_its_place(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    path = written(tmp_path / "hotpot.json", rows)
    with pytest.raises(UserError, match=sentence) as caught:
        load_questions(path)
    assert str(path) in str(caught.value)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [HOTPOT])
    load_questions(path)
    import os

    written(path, [{**HOTPOT, "_id": "6"}])
    os.utime(path, ns=(1, 1))
    assert list(load_questions(path)) == ["6"]


def test_a_folder_has_the_splits_of_its_files(tmp_path: Path) -> None:
    source = QuestionFiles("hotpotqa", str(tmp_path))
    rows = [{**HOTPOT, "_id": str(i)} for i in range(9)]
    written(tmp_path / "hotpot_dev_distractor_v1.json", rows)
    plain = written(tmp_path / "hotpot_train_v1.1.json", rows)
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert source.splits() == ["train", "dev"]
    tasks = source.tasks("train", 9)
    assert tasks[:4] == source.tasks("train", 4)
    assert len({task.id for task in tasks}) == 9
    assert [task.id for task in tasks] != [task.id for task in source.tasks("train", 9, seed=1)]
    assert (tasks[0].split, tasks[0].task_type, tasks[0].payload["file"]) == (
        "train",
        "bridge",
        "hotpot_train_v1.1.json.gz",
    )


def test_a_single_file_is_its_own_split(tmp_path: Path) -> None:
    source = QuestionFiles("hotpotqa", str(written(tmp_path / "my_dev_50.json", [HOTPOT])))
    assert source.splits() == ("dev",)
    assert [task.id for task in source.tasks("dev", 5)] == ["hotpotqa/hotpotqa/dev/5a"]
    with pytest.raises(UserError, match="is one file; its only split is 'dev', not 'train'"):
        source.tasks("train", 1)


@pytest.mark.parametrize(
    ("data_set", "file", "way"),
    [
        ("hotpotqa", "hotpot_train_v1.1.json", "hotpotqa.github.io"),
        ("2wikimultihopqa", "train.json", "Alab-NII/2wikimultihop"),
        ("musique", "musique_ans_v1.0_train.jsonl", "download_data.sh of the repository StonyBrookNLP/musique"),
        ("bamboogle", "bamboogle.csv", "ofirpress/self-ask"),
    ],
)
def test_a_missing_folder_is_reported_with_the_file_and_its_origin(
    tmp_path: Path, data_set: Any, file: str, way: str
) -> None:
    with pytest.raises(UserError) as caught:
        QuestionFiles(data_set, str(tmp_path / "absent")).splits()
    assert str(tmp_path / "absent" / file) in str(caught.value)
    assert way in str(caught.value)


def test_a_missing_or_unknown_split_is_refused(tmp_path: Path) -> None:
    source = QuestionFiles("hotpotqa", str(tmp_path))
    written(tmp_path / "hotpot_train_v1.1.json", [HOTPOT])
    with pytest.raises(UserError, match=r"split 'dev' are expected at .*hotpot_dev_distractor_v1\.json"):
        source.tasks("dev", 1)
    with pytest.raises(UserError, match="has no split 'valid'; choose one of train, dev, dev_fullwiki"):
        source.tasks("valid", 1)
