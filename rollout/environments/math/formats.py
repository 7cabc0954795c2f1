"""Layouts of data sets of math problems: the columns that hold problem and answer, and how they are written there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rollout.environments.data_sets.columns import (
    Columns,
    answer_text,
    answers_of,
    columns_in,
    field_of,
    ground_truth_of,
    prompt_of,
    refuse_choices,
    text_of,
)
from rollout.environments.math.grading.notation import boxed
from rollout.errors import UserError
from rollout.storage.rows import Row

FINAL = "####"
"""Marker before the answer in GSM8K's worked solutions."""
SUBJECTS = frozenset(
    {
        *("algebra", "counting_and_probability", "geometry", "intermediate_algebra"),
        *("number_theory", "prealgebra", "precalculus"),
    }
)
"""Folders of MATH that together are a data set; Hugging Face mirrors have splits inside each of them."""
_FIX = "or set columns: {problem: ..., answer: ...}"


@dataclass(frozen=True, slots=True)
class Format:
    """File format of a data set.

    Attributes:
        title: name of the data set in messages.
        problem: possible column names of the problem; the first existing one is used.
        answer: possible column names of the answer.
        files: expected files in the folder, as words of a message.
        origin: download instructions, as words of a message.
        final: marker before the answer within its column.
        task_type: possible column names of the problem's family.
        before: column with text that comes before the problem.
        required: whether ``before`` must exist.
    """

    title: str
    problem: tuple[str, ...]
    answer: tuple[str, ...]
    files: str
    origin: str
    final: str = ""
    task_type: tuple[str, ...] = ()
    before: str = ""
    required: bool = False

    @property
    def wanted(self) -> str:
        """What is expected and where it is from, as words of a message."""
        return f"{self.files}; get it {self.origin}, or set data_dir to where it is"


FORMATS: Mapping[str, Format] = {
    "gsm8k": Format(
        "GSM8K",
        ("question",),
        ("answer",),
        "train.jsonl and test.jsonl",
        "from the folder grade_school_math/data of the GitHub repository openai/grade-school-math",
        final=FINAL,
    ),
    "gsm_hard": Format(
        "GSM-Hard",
        ("input",),
        ("target",),
        "gsmhardv2.jsonl",
        "from the data set reasoning-machines/gsm-hard on the Hugging Face hub",
    ),
    "math": Format(
        "MATH",
        ("problem",),
        ("answer",),
        r"folders train and test with a .json file for each problem, or a .jsonl file with problem and answer "
        r"(or solution with \boxed{})",
        "from the GitHub repository hendrycks/math, or the data set HuggingFaceH4/MATH-500 on the Hugging Face hub",
        task_type=("type", "subject"),
    ),
    "aime": Format(
        "AIME",
        ("problem", "question"),
        ("answer",),
        "a .jsonl, .json, .csv or .parquet file with the columns problem and answer",
        "for example from the data set HuggingFaceH4/aime_2024 on the Hugging Face hub",
    ),
    "svamp": Format(
        "SVAMP",
        ("question",),
        ("answer",),
        "SVAMP.json, or files with the columns Body, Question and Answer",
        "from the GitHub repository arkilpatel/SVAMP, or the data set ChilleD/SVAMP on the Hugging Face hub",
        task_type=("type",),
        before="body",
        required=True,
    ),
    "olympiadbench": Format(
        "OlympiadBench",
        ("question",),
        ("final_answer",),
        "files of open-ended problems without pictures, such as OE_TO_maths_en_COMP.parquet",
        "from the data set Hothan/OlympiadBench on the Hugging Face hub, or the repository OpenBMB/OlympiadBench",
        task_type=("subfield",),
        before="context",
    ),
}


def read_problem(form: Format, row: Row, place: str, columns: Columns | None) -> tuple[str, str]:
    """Problem and answer of a row: by ``columns``, in the format's own columns, FlashRAG's or verl's.

    Raises:
        UserError: the row has another layout, or no problem or answer.
    """
    if columns is not None:
        problem = text_of(field_of(row, columns.problem, place), place, columns.problem)
        answer = _only(answers_of(field_of(row, columns.answer, place), place, columns.answer), place)
        return problem, _after_marker(answer) or _missing(form, row, place)
    refuse_choices(row, place)
    column = next((name for name in form.problem if name in row), None)
    if "golden_answers" in row and "question" in row and not any(name in row for name in form.answer):
        problem = text_of(row["question"], place, "question")
        return problem, _only(answers_of(row["golden_answers"], place, "golden_answers"), place)
    if column is None and "prompt" in row and "reward_model" in row:
        return prompt_of(row["prompt"], place), _only(ground_truth_of(row["reward_model"], place), place)
    if column is None or (form.required and form.before not in row):
        missing = " or ".join(form.problem) if column is None else form.before
        raise UserError(
            f"{place} has no field {missing}; its fields are {columns_in(row)}; check that it is {form.title} in the "
            f"expected version: {form.wanted}, {_FIX}"
        )
    return _problem(form, row, place, column), _answer(form, row, place)


def family_of(form: Format, row: Row, default: str) -> str:
    """The problem's family as the data set names it, else ``default``."""
    return next((str(row[key]) for key in form.task_type if row.get(key)), default)


def _problem(form: Format, row: Row, place: str, column: str) -> str:
    text = text_of(row[column], place, column)
    if form.before != "body" and "body" in row:
        raise UserError(f"{place} has part of its problem in the column body, as SVAMP has; set source: svamp, {_FIX}")
    if "<image" in text or str(row.get("modality", "")).lower().startswith("multi"):
        raise UserError(f"{place} needs pictures, which the environment does not show; use the files without pictures")
    before = row.get(form.before) if form.before else None
    if before in (None, ""):
        return text
    start = text_of(before, place, form.before)
    return f"{start} {text}" if form.required else f"{start}\n{text}"


def _answer(form: Format, row: Row, place: str) -> str:
    value = next((row[key] for key in form.answer if row.get(key) is not None), None)
    if isinstance(value, list):
        answer = ", ".join(answers_of(value, place, form.answer[0]))
    else:
        answer = "" if isinstance(value, bool | dict) else answer_text(value, place, form.answer[0])
    if form.final:
        answer = answer.rpartition(form.final)[2].strip() if form.final in answer else ""
    elif FINAL in answer:
        raise UserError(f"{place} has a worked solution as its answer, as GSM8K has; set source: gsm8k, {_FIX}")
    solution = row.get("solution")
    if not answer and isinstance(solution, str):
        answer = (boxed(solution) or "").strip()
    return answer or _missing(form, row, place)


def _missing(form: Format, row: Row, place: str) -> str:
    after = f" after {form.final}" if form.final else r" nor a \boxed{} in its solution" if "solution" in row else ""
    raise UserError(
        f"{place} has a question without an answer: nothing in {form.answer[0]}{after}; its fields are "
        f"{columns_in(row)}; add it or remove the row, {_FIX}"
    )


def _only(answers: tuple[str, ...], place: str) -> str:
    if len(answers) != 1:
        raise UserError(
            f"{place} has {len(answers) or 'no'} different answers, but a math problem has one; keep the right one"
        )
    return answers[0]


def _after_marker(answer: str) -> str:
    return answer.rpartition(FINAL)[2].strip()
