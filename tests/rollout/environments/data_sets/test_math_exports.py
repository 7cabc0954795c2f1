"""Published data sets of math problems load as downloaded; each has one invented row in its real layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.math.datasets import DataSet
from tests.rollout.environments.data_sets.layouts import Row, save_dict_to_disk, write

WORKED = "Ola packs 4 boxes of 6 jars: <<4*6=24>>24 jars.\n#### 24"
PROBLEM = "Ola packs 4 boxes of 6 jars. How many jars are that?"


def verl(prompt: str, truth: Any, **more: Any) -> Row:
    return {
        "data_source": "somewhere/set",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        **more,
    }


OLYMPIAD: Row = {
    "id": 1606,
    "question": "Find all real $x$ with $x^2 = 9$.",
    "solution": ["Take roots."],
    "final_answer": ["3, -3"],
    "context": None,
    "modality": "Text-only",
    "difficulty": "Competition",
    "is_multiple_answer": True,
    "unit": None,
    "answer_type": "Numerical",
    "error": None,
    "question_type": "Open-ended",
    "subfield": "Algebra",
    "subject": "Math",
    "language": "English",
}
SVAMP: Row = {
    "ID": "chal-9001",
    "Body": "Ola has 7 jars and gives 3 away.",
    "Question": "How many jars are left?",
    "Equation": "( 7.0 - 3.0 )",
    "Answer": 4.0,
    "Type": "Subtraction",
}
JARS = "Ola has 7 jars and gives 3 away. How many jars are left?"

MATH_EXPORTS: Sequence[tuple[str, str, str, str, list[Row], str, str]] = [
    ("GSM8K", "gsm8k", "train.jsonl", "train", [{"question": PROBLEM, "answer": WORKED}], PROBLEM, "24"),
    (
        "openai/gsm8k",
        "gsm8k",
        "main/test-00000-of-00001.parquet",
        "test",
        [{"question": PROBLEM, "answer": WORKED}],
        PROBLEM,
        "24",
    ),
    (
        "FlashRAG gsm8k",
        "gsm8k",
        "gsm8k/test.jsonl",
        "test",
        [{"id": "test_0", "question": PROBLEM, "golden_answers": ["24"], "metadata": {"cot": WORKED}}],
        PROBLEM,
        "24",
    ),
    (
        "verl gsm8k",
        "gsm8k",
        "train.parquet",
        "train",
        [verl(f"{PROBLEM} Think.", "24", extra_info={"answer": WORKED, "index": 0, "question": "Q", "split": "train"})],
        f"{PROBLEM} Think.",
        "24",
    ),
    (
        "reasoning-machines/gsm-hard",
        "gsm_hard",
        "gsmhardv2.jsonl",
        "gsmhardv2",
        [{"input": PROBLEM, "code": "def solution(): ...", "target": 2400000.0}],
        PROBLEM,
        "2400000",
    ),
    (
        "hendrycks/math",
        "math",
        "MATH/test/algebra/7.json",
        "test",
        [{"problem": "Find $x$.", "level": "Level 2", "type": "Algebra", "solution": r"So \boxed{\frac12}."}],
        "Find $x$.",
        r"\frac12",
    ),
    (
        "HuggingFaceH4/MATH-500",
        "math",
        "test.jsonl",
        "test",
        [
            {
                "problem": "Find $x$.",
                "solution": r"\boxed{3}",
                "answer": "3",
                "subject": "Algebra",
                "level": 1,
                "unique_id": "test/algebra/1.json",
            }
        ],
        "Find $x$.",
        "3",
    ),
    (
        "EleutherAI/hendrycks_math",
        "math",
        "algebra/train-00000-of-00001.parquet",
        "train",
        [{"problem": "Find $x$.", "level": "Level 2", "type": "Algebra", "solution": r"So \boxed{5}."}],
        "Find $x$.",
        "5",
    ),
    (
        "AI-MO/NuminaMath-CoT",
        "math",
        "data/train-00000-of-00001.parquet",
        "train",
        [{"source": "olympiads", "problem": "Find $n$.", "solution": r"$\boxed{8}$", "messages": [{"role": "user"}]}],
        "Find $n$.",
        "8",
    ),
    (
        "DAPO-Math-17k",
        "math",
        "data/dapo-math-17k.parquet",
        "dapo-math-17k",
        [verl("Find $n$. Answer: $Answer", "34", extra_info={"index": "9a9b"})],
        "Find $n$. Answer: $Answer",
        "34",
    ),
    (
        "HuggingFaceH4/aime_2024",
        "aime",
        "data/train-00000-of-00001.parquet",
        "train",
        [{"id": 60, "problem": "Find $m+n$.", "solution": "By hand.", "answer": "204", "url": "u", "year": "2024"}],
        "Find $m+n$.",
        "204",
    ),
    (
        "Maxwell-Jia/AIME_2024",
        "aime",
        "aime_2024_problems.parquet",
        "aime_2024_problems",
        [{"ID": "2024-II-4", "Problem": "Find $m+n$.", "Solution": "By hand.", "Answer": 33}],
        "Find $m+n$.",
        "33",
    ),
    (
        "opencompass/AIME2025",
        "aime",
        "aime2025-I.jsonl",
        "aime2025-I",
        [{"question": "Find $m+n$.", "answer": "70"}],
        "Find $m+n$.",
        "70",
    ),
    ("SVAMP", "svamp", "SVAMP.json", "SVAMP", [SVAMP], JARS, "4"),
    (
        "ChilleD/SVAMP",
        "svamp",
        "data/test-00000-of-00001.parquet",
        "test",
        [{**SVAMP, "Answer": "4.0", "question_concat": JARS}],
        JARS,
        "4.0",
    ),
    (
        "Hothan/OlympiadBench",
        "olympiadbench",
        "OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet",
        "OE_TO_maths_en_COMP",
        [OLYMPIAD],
        "Find all real $x$ with $x^2 = 9$.",
        "3, -3",
    ),
]


@pytest.mark.parametrize(
    ("source", "file", "split", "rows", "problem", "answer"),
    [export[1:] for export in MATH_EXPORTS],
    ids=[export[0] for export in MATH_EXPORTS],
)
def test_a_published_math_set_loads_as_downloaded(
    tmp_path: Path, source: str, file: str, split: str, rows: list[Row], problem: str, answer: str
) -> None:
    write(tmp_path / file, rows)
    data = DataSet(source, str(tmp_path))
    assert data.splits() == [split]
    (task,) = data.tasks(split, 10)
    assert (task.payload["problem"], task.payload["answer"]) == (problem, answer)
    assert task.id.startswith(f"math/{source}/{split}/")


def test_every_export_loads_from_save_to_disk_too(tmp_path: Path) -> None:
    for number, (_, source, _, _, rows, problem, answer) in enumerate(MATH_EXPORTS):
        folder = save_dict_to_disk(tmp_path / str(number), {"train": rows, "validation": rows})
        (task,) = DataSet(source, str(folder)).tasks("validation", 9)
        assert (task.payload["problem"], task.payload["answer"], task.split) == (problem, answer, "dev")
