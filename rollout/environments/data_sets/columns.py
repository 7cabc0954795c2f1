"""Rows of data sets: their columns, and the values that may stand in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field

from rollout.environments.data_sets.splits import canonical
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.storage.rows import Row, read_rows

MAX_TEXT = 1 << 20
"""Largest number of characters of a question or an answer."""
MAX_ROWS, MAX_TOTAL_TEXT = 2_000_000, 1 << 30
"""Limits on a split, which is kept in memory: rows, and characters of all questions and answers."""
MULTIPLE_CHOICE = ("choices", "options", "choice", "answerkey", "correct_option")
"""Columns of multiple-choice questions, whose answers are numbers or letters of options."""
_SKIPPED = frozenset({"entity_pages", "search_results", "search_context", *(f"image_{n}" for n in range(1, 10))})
"""Columns of web pages and pictures, which are large and never read."""
_SHOWN_COLUMNS = 12
_WRITTEN_STRUCTURES = ("['", '["', "{'", '{"', "array([")


class Columns(FrozenModel):
    """Names of the columns of a data set whose layout is not known.

    ``extra_info.question`` is the field ``question`` of the column ``extra_info``.
    """

    problem: str = Field(min_length=1, validation_alias=AliasChoices("problem", "question"))
    """Column with the question or problem."""
    answer: str = Field(min_length=1)
    """Column with the answer: a text, a number, or for questions also a list of accepted answers."""
    id: str | None = Field(None, min_length=1)
    """Column with a unique name of the row; None numbers the rows."""


def rows_of(files: Iterable[Path]) -> Iterator[tuple[Path, str, Row]]:
    """Each row of the files of one split, with its file and its place in words; names of columns are in lower case.

    Raises:
        UserError: a file is damaged, two columns differ only in case, there are too many rows, or the rows say that
            they belong to different splits.
    """
    named: dict[str, str] = {}
    count = 0
    for file in files:
        for position, row in read_rows(file, _SKIPPED):
            place = f"{file}, {position}"
            count += 1
            if count > MAX_ROWS:
                raise UserError(f"{place}: a split has at most {MAX_ROWS:,} rows; divide the file")
            lower = {name.strip().lower(): value for name, value in row.items()}
            if len(lower) < len(row):
                raise UserError(f"{place} has columns that differ only in case ({columns_in(row)}); rename one of them")
            if split := _split_of(lower):
                named.setdefault(split, place)
            if len(named) > 1:
                (one, first), (other, second) = named.items()
                raise UserError(
                    f"{second} is of the split {other}, but {first} of {one}; write one file for each split"
                )
            yield file, place, lower


def columns_in(row: Mapping[str, Any]) -> str:
    """The names of a row's columns, for messages."""
    names = [repr(name)[1:-1][:40] for name in list(row)[:_SHOWN_COLUMNS]]
    return ", ".join(names) + (f" and {len(row) - len(names)} more" if len(row) > len(names) else "") or "none"


def field_of(row: Row, name: str, place: str) -> Any:
    """The value of a configured column, or of a field within one. Raises `UserError` if there is none."""
    key = name.strip().lower()
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        if isinstance(value, Mapping):
            value = {str(inner).strip().lower(): found for inner, found in value.items()}.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = None
    if value is None:
        raise UserError(f"{place} has nothing in {name}, which columns names; its columns are {columns_in(row)}")
    return value


def text_of(value: object, place: str, column: str) -> str:
    """A question or problem, without outer white space. Raises `UserError` if the value is no text or an empty one."""
    if not isinstance(value, str) or not value.strip():
        what = "no text" if isinstance(value, str) or value is None else f"no text but {_kind(value)}"
        raise UserError(
            f"{place} has no problem text in its field {column} ({what}); add it, remove the row, or name another "
            "column with columns: {problem: ..., answer: ...}"
        )
    return _checked(value.strip(), place, column)


def answers_of(value: object, place: str, column: str) -> tuple[str, ...]:
    """Accepted answers in the order given: a text, a number, a list of these, or TriviaQA's structure; may be empty.

    Raises:
        UserError: the value is something else.
    """
    if isinstance(value, Mapping):
        return _answers_of_structure(value, place, column)
    given: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if len(given) == 1 and isinstance(given[0], str):
        given = _listed(given[0], place, column)
    texts = [answer_text(item, place, column) for item in given]
    return tuple(dict.fromkeys(text for text in texts if text and text != "<unk>"))


def answer_text(value: object, place: str, column: str) -> str:
    """The text of a text or number; integral floats lose their decimal point, and None is empty.

    Raises:
        UserError: the value is neither, or no number.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value:
        raise UserError(
            f"{place} has {_kind(value)} in its field {column}, which is no answer; name the column that holds the "
            "answer as text with columns: {problem: ..., answer: ...}"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _checked(str(value).strip(), place, column)


def refuse_choices(row: Row, place: str) -> None:
    """Raise `UserError` for a multiple-choice question: the agent would not see its options."""
    if found := next((name for name in MULTIPLE_CHOICE if row.get(name) not in (None, "", [])), None):
        raise UserError(
            f"{place} is a multiple-choice question (column {found}; its columns are {columns_in(row)}), which the "
            "environment does not show; write a file with the question and the text of the right option"
        )


def prompt_of(value: object, place: str) -> str:
    """The problem in verl's column ``prompt``: the only message of the user."""
    messages = value if isinstance(value, list) else []
    users = [m.get("content") for m in messages if isinstance(m, Mapping) and m.get("role") == "user"]
    others = [m for m in messages if not isinstance(m, Mapping) or m.get("role") not in ("user", "system")]
    if len(users) != 1 or others:
        raise UserError(
            f"{place} has no single message of the user in its field prompt; name the column with the problem with "
            "columns: {problem: ..., answer: ...}"
        )
    return text_of(users[0], place, "prompt")


def ground_truth_of(value: object, place: str) -> tuple[str, ...]:
    """The accepted answers in verl's and Search-R1's column ``reward_model``."""
    column = "reward_model"
    if not isinstance(value, Mapping) or "ground_truth" not in value:
        raise UserError(f"{place} has no ground_truth in its field reward_model; it is needed to check answers")
    if value.get("style", "rule") not in ("rule", "rule-lighteval/MATH_v2", None):
        raise UserError(
            f"{place} has reward_model.style {str(value['style'])[:40]!r}, not 'rule': its answers are not checked by "
            "comparison; remove such rows"
        )
    truth = value["ground_truth"]
    if isinstance(truth, Mapping) and list(truth) == ["target"]:
        truth = truth["target"]
    return answers_of(truth, place, f"{column}.ground_truth")


def _answers_of_structure(value: Mapping[Any, Any], place: str, column: str) -> tuple[str, ...]:
    """TriviaQA's ``{value, aliases, normalized_aliases, ...}``; the original files write ``Value`` and so on."""
    fields = {str(name).lower().replace("_", ""): found for name, found in value.items()}
    if "value" not in fields or "aliases" not in fields:
        raise UserError(
            f"{place} has a structure with {columns_in(value)} in its field {column}, which is no answer; name a field "
            "of it with columns, such as columns: {problem: question, answer: " + f"{column}.FIELD}}"
        )
    parts = [fields["value"], *(item for key in ("aliases", "normalizedaliases") for item in fields.get(key) or [])]
    return answers_of([part for part in parts if part is not None] or None, place, column)


def _listed(text: str, place: str, column: str) -> Sequence[Any]:
    """The items of a list that is written as JSON (PopQA), or the text itself."""
    if not text.lstrip().startswith(_WRITTEN_STRUCTURES):
        return [text]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise UserError(
            f"{place} has a list or structure written as text in its field {column} ({text[:40]!r}), which is no "
            "answer; write it as JSON, or use the data set's Parquet or JSON lines"
        )
    return found


def _checked(text: str, place: str, column: str) -> str:
    """The text. Raises `UserError` if it is too long or cannot be stored."""
    if len(text) > MAX_TEXT:
        raise UserError(f"{place} has {len(text):,} characters in its field {column}; at most {MAX_TEXT:,} are allowed")
    if "\0" in text or text.encode("utf-8", "ignore").decode("utf-8") != text:
        raise UserError(f"{place} has a NUL or half a character in its field {column}; fix the text or remove the row")
    return text


def check_total(characters: int, place: str) -> None:
    """Raise `UserError` if the questions and answers of a split have more than `MAX_TOTAL_TEXT` characters."""
    if characters > MAX_TOTAL_TEXT:
        raise UserError(f"{place}: the split has more than {MAX_TOTAL_TEXT:,} characters; divide the file")


def _split_of(row: Row) -> str | None:
    """The split that a row says it belongs to, in its column ``split`` or in verl's ``extra_info.split``."""
    extra = row.get("extra_info")
    named = row.get("split") or (extra.get("split") if isinstance(extra, Mapping) else None)
    return canonical(named) if isinstance(named, str) else None


def _kind(value: object) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Mapping):
        return f"a structure with {columns_in(value)}"
    if isinstance(value, list):
        return "a list"
    return "NaN" if value != value else f"a value of type {type(value).__name__}"
