"""Task sources over data sets of math problems: GSM8K, GSM-Hard, and files in the format of MATH or AIME."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rollout.environment import Task
from rollout.environments.math.grading.notation import boxed
from rollout.errors import UserError
from rollout.storage.rows import Row, file_stem, read_rows

_IDS = ("id", "unique_id", "_id", "test_index")


@dataclass(frozen=True, slots=True)
class _Format:
    """File format of a data set.

    Attributes:
        title: name of the data set in messages.
        problem: possible field names of the problem; the first existing one is used.
        answer: possible field names of the answer.
        final: marker before the answer within its field.
        task_type: possible field names of the problem's family.
        files: expected files in the folder, as words of a message.
        origin: download instructions, as words of a message.
    """

    title: str
    problem: tuple[str, ...]
    answer: tuple[str, ...]
    files: str
    origin: str
    final: str = ""
    task_type: tuple[str, ...] = ()


FORMATS: Mapping[str, _Format] = {
    "gsm8k": _Format(
        "GSM8K",
        ("question",),
        ("answer",),
        "train.jsonl and test.jsonl",
        "from the folder grade_school_math/data of the GitHub repository openai/grade-school-math",
        final="####",
    ),
    "gsm_hard": _Format(
        "GSM-Hard",
        ("input",),
        ("target",),
        "gsmhardv2.jsonl",
        "from the data set reasoning-machines/gsm-hard on the Hugging Face hub",
    ),
    "math": _Format(
        "MATH",
        ("problem",),
        ("answer",),
        r"folders train and test with a .json file for each problem, or a .jsonl file with problem and answer "
        r"(or solution with \boxed{})",
        "from the GitHub repository hendrycks/math, or the data set HuggingFaceH4/MATH-500 on the Hugging Face hub",
        task_type=("type", "subject"),
    ),
    "aime": _Format(
        "AIME",
        ("problem", "question"),
        ("answer",),
        "a .jsonl, .json, .csv or .parquet file with the columns problem and answer",
        "for example from the data set HuggingFaceH4/aime_2024 on the Hugging Face hub",
    ),
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """A task source over the files of a data set; payloads contain problem and answer.

    Attributes:
        source: name of the data set in `FORMATS`.
        data_dir: folder of the data set, or one of its files. Each split is a file or a folder of files, and has the
            name of that file without its extension or of that folder.
    """

    source: str
    data_dir: str

    def splits(self) -> Sequence[str]:
        """Names of the splits. Raises `UserError` if the data is missing."""
        return sorted(self._paths())

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` problems of ``split``, shuffled by ``seed``; fewer if the split has fewer.

        Raises:
            UserError: the data or the split is missing, or a row is damaged.
        """
        paths = self._paths()
        if split not in paths:
            raise UserError(f"there is no split {split!r} in {self.data_dir}; choose one of {', '.join(sorted(paths))}")
        tasks, places = list[Task](), dict[str, str]()
        for number, (place, row) in enumerate(_rows(paths[split])):
            task = self._task(split, number, place, row)
            if task.id in places:
                raise UserError(f"{place} has the same id as {places[task.id]} ({task.id}); remove one of them")
            places[task.id] = place
            tasks.append(task)
        if not tasks:
            raise UserError(f"{paths[split]} has no problems; expected {self._wanted()}")
        Random(seed).shuffle(tasks)
        return tasks[:count]

    def _paths(self) -> dict[str, Path]:
        """File or folder of each split."""
        base = Path(self.data_dir).expanduser()
        found = [base] if base.is_file() else sorted(base.iterdir()) if base.is_dir() else []
        paths = {stem: path for path in found if path.is_file() and (stem := file_stem(path))}
        paths |= {path.name: path for path in found if path.is_dir() and next(path.rglob("*.json"), None)}
        if not paths:
            what = "does not exist" if not base.exists() else "has no data file"
            raise UserError(f"{base} {what}; {FORMATS[self.source].title} is expected there: {self._wanted()}")
        return paths

    def _wanted(self) -> str:
        form = FORMATS[self.source]
        return f"{form.files}; get it {form.origin}, or set data_dir to where it is"

    def _task(self, split: str, number: int, place: str, row: dict[str, Any]) -> Task:
        form = FORMATS[self.source]
        name = next((str(row[key]) for key in _IDS if row.get(key) is not None), str(number))
        payload = {
            "problem": self._problem(form, place, row),
            "answer": _answer(form, place, row),
        }
        if "level" in row:
            payload["level"] = str(row["level"])
        family = next((str(row[key]) for key in form.task_type if row.get(key)), self.source)
        return Task(f"math/{self.source}/{split}/{name}", "math", split, family, payload)

    def _problem(self, form: _Format, place: str, row: dict[str, Any]) -> str:
        key = next((key for key in form.problem if key in row), None)
        if key is None:
            raise UserError(
                f"{place} has no field {' or '.join(form.problem)}; its fields are {', '.join(row) or 'empty'}; "
                f"check that it is {form.title} in the expected version: {self._wanted()}"
            )
        text = row[key]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{place} has no problem text in its field {key}; add it or remove the row")
        return text.strip()


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield each row with its location in words; field names are lower case."""
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        named = {} if path.is_file() else {"id": file.relative_to(path).with_suffix("").as_posix()}
        for place, row in read_rows(file):
            yield f"{file}, {place}", {**named, **{name.strip().lower(): value for name, value in row.items()}}


def _answer(form: _Format, place: str, row: dict[str, Any]) -> str:
    answer = _written(next((row[key] for key in form.answer if row.get(key) is not None), None))
    if form.final:
        answer = answer.rpartition(form.final)[2].strip() if form.final in answer else ""
    solution = row.get("solution")
    if not answer and isinstance(solution, str):
        answer = (boxed(solution) or "").strip()
    if answer:
        return answer
    after = f" after {form.final}" if form.final else r" nor a \boxed{} in its solution" if "solution" in row else ""
    raise UserError(
        f"{place} has a question without an answer: nothing in {form.answer[0]}{after}; add it or remove the row"
    )


def _written(value: object) -> str:
    """Convert a value to the text of an answer; integral floats lose their decimal point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None or isinstance(value, bool | list | dict) else str(value).strip()
