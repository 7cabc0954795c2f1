"""Rows of an unknown layout are refused in a sentence that names their columns and the fix; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.environments.data_sets.columns import Columns
from rollout.environments.hotpotqa.datasets import QuestionFiles
from rollout.environments.hotpotqa.environment import HotpotQAConfig
from rollout.environments.math.config import MathConfig
from rollout.environments.math.datasets import DataSet
from rollout.errors import UserError
from tests.rollout.environments.data_sets.layouts import Row, write

FIX = r"columns: {problem: \.\.\., answer: \.\.\.}"
PROMPT = [{"role": "user", "content": "What is 2 + 2?"}]
RULE = {"style": "rule", "ground_truth": "4"}


@pytest.mark.parametrize(
    ("source", "row", "sentence"),
    [
        (
            "aime",
            {"instruction": "Q?", "output": "4"},
            f"no field problem or question; .*are instruction, output; .*{FIX}",
        ),
        ("math", {"query": "Q?", "response": "4", "n": 1}, f"its fields are query, response, n; .*{FIX}"),
        ("math", {"messages": PROMPT}, "its fields are messages"),
        (
            "gsm8k",
            {"question": "Q?", "answer": "4", "other": 1},
            "nothing in answer after ####; .*question, answer, other",
        ),
        ("math", {"problem": "Q?", "final": "4"}, f"nothing in answer; its fields are problem, final; .*{FIX}"),
        (
            "math",
            {"problem": {"text": "Q?"}, "answer": "4"},
            "no problem text in its field problem .*structure with text",
        ),
        ("math", {"problem": ["Q?"], "answer": "4"}, r"no problem text in its field problem \(no text but a list\)"),
        ("math", {"problem": "Q?", "answer": True}, "a question without an answer"),
        ("math", {"problem": "Q?", "answer": float("nan")}, "has NaN in its field answer, which is no answer"),
        ("math", {"problem": "Q?", "answer": {"value": "4"}}, "a question without an answer"),
        ("aime", {"question": "Q?", "answer": "It is <<2+2=4>>4.\n#### 4"}, "a worked solution .*; set source: gsm8k"),
        ("aime", {"Body": "B.", "Question": "Q?", "Answer": 4}, "in the column body, as SVAMP has; set source: svamp"),
        ("svamp", {"Question": "Q?", "Answer": 4}, "has no field body; its fields are question, answer"),
        ("aime", {"question": "Q?", "choices": ["a", "b"], "answer": 1}, "multiple-choice question .column choices"),
        ("aime", {"question": "Q?", "options": ["A)1"], "correct": "A"}, "multiple-choice question .column options"),
        (
            "math",
            {"question": "Q?", "golden_answers": ["4", "5"]},
            "has 2 different answers, but a math problem has one",
        ),
        (
            "math",
            {"prompt": PROMPT, "reward_model": {"style": "model", "ground_truth": "4"}},
            "style 'model', not 'rule'",
        ),
        ("math", {"prompt": PROMPT, "reward_model": {"style": "rule"}}, "no ground_truth in its field reward_model"),
        ("math", {"prompt": PROMPT * 2, "reward_model": RULE}, "no single message of the user in its field prompt"),
        ("math", {"prompt": "Q?", "reward_model": RULE}, "no single message of the user in its field prompt"),
        ("olympiadbench", {"question": "Q?", "final_answer": None}, "nothing in final_answer"),
        ("olympiadbench", {"question": "Q<image_1>", "final_answer": ["4"]}, "needs pictures"),
        (
            "olympiadbench",
            {"question": "Q?", "final_answer": ["4"], "modality": "Multimodal"},
            "needs pictures, which the environment does not show",
        ),
    ],
)
def test_an_unknown_layout_of_problems_is_refused(tmp_path: Path, source: str, row: Row, sentence: str) -> None:
    path = write(tmp_path / "train.jsonl", [row])
    with pytest.raises(UserError, match=sentence) as caught:
        DataSet(source, str(tmp_path)).tasks("train", 1)
    assert f"{path}, line 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"query": "Q?", "gold": "x"}, f"has no question; .*its columns are query, gold; set {FIX}"),
        ({"question": "Q?", "answers": ["x"]}, f"no answer; its columns are question, answers; .*{FIX}"),
        (
            {"question": "Q?", "answer": {"text": ["x"], "start": [1]}},
            "a structure with text, start in its field answer",
        ),
        ({"question": "Q?", "answer": [["x"]]}, "has a list in its field answer, which is no answer"),
        ({"question": "Q?", "answer": True}, "has true or false in its field answer"),
        ({"question": "Q?", "answer": "['x', 'y']"}, r"a list or structure written as text .*\(\"\['x', 'y'\]\"\)"),
        ({"question": "Q?", "answer": "{'value': 'x', 'aliases': []}"}, "a list or structure written as text"),
        ({"question": "Q?", "possible_answers": '["x", "y'}, "a list or structure written as text"),
        (
            {"question": "Q?", "answer": {"value": "<unk>", "aliases": []}},
            "has no answer; .*test files have no answers",
        ),
        ({"question": {"text": "Q?", "tokens": []}, "annotations": []}, "its columns are question, annotations"),
        ({"question": "Q?", "golden_answers": [1], "choices": ["x", "y"]}, "multiple-choice question"),
        ({"question": "Q?", "answer": "x\0y"}, "a NUL or half a character in its field answer"),
        ({"question": "Q\ud800?", "answer": "x"}, "a NUL or half a character in its field question"),
        ({"question": "Q?" * 600_000, "answer": "x"}, "1,200,000 characters in its field question; at most"),
    ],
)
def test_an_unknown_layout_of_questions_is_refused(tmp_path: Path, row: Row, sentence: str) -> None:
    path = write(tmp_path / "dev.jsonl", [row])
    with pytest.raises(UserError, match=sentence) as caught:
        QuestionFiles("hotpotqa", str(path)).tasks("dev", 1)
    assert f"{path}, line 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_of_an_answer_are_no_answers(tmp_path: Path) -> None:
    """A structure used to be read as the list of its keys, so that ``finish[value]`` was right."""
    row = {"question": "Q?", "answer": {"value": "Osk", "aliases": ["The Osk"], "type": "Entity"}}
    (task,) = QuestionFiles("triviaqa", str(write(tmp_path / "dev.jsonl", [row]))).tasks("dev", 1)
    assert task.payload["answers"] == "Osk\nThe Osk"
    row = {"question": "Q?", "golden_answers": "Osk"}
    (task,) = QuestionFiles("nq", str(write(tmp_path / "dev.jsonl", [row]))).tasks("dev", 1)
    assert task.payload["answers"] == "Osk"


def test_columns_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [{"problem": "Q?", "answer": "4", "Answer": "5"}])
    with pytest.raises(UserError, match=r"columns that differ only in case \(problem, answer, Answer\)"):
        DataSet("math", str(path)).tasks("train", 1)


def test_many_and_long_columns_are_cut_in_the_message(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [{f"column {n} " + "x" * 500: n for n in range(30)}])
    with pytest.raises(UserError, match="and 18 more") as caught:
        DataSet("math", str(path)).tasks("train", 1)
    assert len(str(caught.value)) < 1500


def test_configured_columns_read_any_layout(tmp_path: Path) -> None:
    rows = [{"Query": "What is 2 + 2?", "meta": {"gold": ["4"]}, "key": "a", "answer": "wrong"}]
    write(tmp_path / "train.jsonl", rows)
    columns = {"problem": "query", "answer": "meta.gold", "id": "key"}
    config = MathConfig.model_validate({"source": "math", "data_dir": str(tmp_path), "columns": columns})
    (task,) = DataSet(config.source, str(tmp_path), config.columns).tasks("train", 1)
    assert (task.id, dict(task.payload)) == ("math/math/train/a", {"problem": "What is 2 + 2?", "answer": "4"})
    (question,) = QuestionFiles("nq", str(tmp_path), Columns.model_validate(columns)).tasks("train", 1)
    assert (question.id, question.payload["answers"]) == ("hotpotqa/nq/train/a", "4")


def test_configured_columns_reach_into_messages_and_worked_solutions(tmp_path: Path) -> None:
    row = {"prompt": PROMPT, "extra_info": {"question": "Raw?", "answer": "Two and two.\n#### 4"}}
    write(tmp_path / "train.parquet", [row])
    raw = Columns(problem="extra_info.question", answer="extra_info.answer")
    (task,) = DataSet("gsm8k", str(tmp_path), raw).tasks("train", 1)
    assert dict(task.payload) == {"problem": "Raw?", "answer": "4"}
    message = Columns(problem="prompt.0.content", answer="extra_info.answer")
    (task,) = DataSet("gsm8k", str(tmp_path), message).tasks("train", 1)
    assert task.payload["problem"] == "What is 2 + 2?"


def test_a_configured_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [{"query": "Q?", "gold": "4"}])
    with pytest.raises(UserError, match="nothing in text, which columns names; its columns are query, gold"):
        DataSet("math", str(path), Columns(problem="text", answer="gold")).tasks("train", 1)
    with pytest.raises(UserError, match=r"nothing in gold\.0, which columns names; its columns are query, gold"):
        QuestionFiles("nq", str(path), Columns(problem="query", answer="gold.0")).tasks("train", 1)


@pytest.mark.parametrize("name", ["problem", "question"])
def test_the_column_of_the_problem_may_be_called_question(name: str) -> None:
    columns: Any = {name: "a", "answer": "b"}
    config = HotpotQAConfig(source="nq", data="x", corpus="dump.jsonl", columns=columns)
    assert config.columns == Columns(problem="a", answer="b")
    assert HotpotQAConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("config", [MathConfig, HotpotQAConfig])
def test_columns_are_refused_for_generated_tasks(config: Any) -> None:
    with pytest.raises(ValidationError, match="leave columns out"):
        config(columns={"problem": "a", "answer": "b"})


@pytest.mark.parametrize("source", ["bamboogle", "nq", "triviaqa", "popqa"])
def test_questions_without_paragraphs_need_a_corpus(source: Any) -> None:
    with pytest.raises(ValidationError, match=f"{source} has no paragraphs; set corpus"):
        HotpotQAConfig(source=source, data="x")
