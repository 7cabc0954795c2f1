"""Layouts of question sets: the columns that hold question and answers, and the aliases of 2Wiki's entities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rollout.environments.data_sets.columns import (
    Columns,
    answers_of,
    columns_in,
    field_of,
    ground_truth_of,
    prompt_of,
    refuse_choices,
    text_of,
)
from rollout.errors import UserError
from rollout.storage.rows import Row, read_rows

_ANSWERS = ("answer", "possible_answers", "golden_answers", "answer_aliases", "answer_alias")
"""Columns of accepted answers, in order: the official one, PopQA's and FlashRAG's lists, MuSiQue's aliases."""
_ALIASES = "id_aliases.json"
_FIX = "set columns: {problem: ..., answer: ...}"


def read_question(row: Row, number: str, place: str, columns: Columns | None) -> tuple[str, str, tuple[str, ...]]:
    """Id, question and accepted answers of a row: by ``columns``, or in the columns of a known data set.

    Args:
        row: the row; names of columns are in lower case.
        number: the id of a row that has none.
        place: file and row, for messages.
        columns: columns of question and answer; None uses those of known data sets.

    Raises:
        UserError: the row has another layout, or no question or answer.
    """
    if columns is not None:
        identity = number if columns.id is None else str(field_of(row, columns.id, place))
        text = text_of(field_of(row, columns.problem, place), place, columns.problem)
        answers = answers_of(field_of(row, columns.answer, place), place, columns.answer)
        return identity, text, answers or _no_answer(row, identity, place)
    refuse_choices(row, place)
    identity = str(row.get("_id") or row.get("id") or _trivia_id(row) or number)
    text, answers = _known(row, place)
    return identity, text, answers or _no_answer(row, identity, place)


def _known(row: Row, place: str) -> tuple[str, tuple[str, ...]]:
    """Question and answers in the columns of a known data set."""
    question = row.get("question")
    if "question" not in row and "prompt" in row and "reward_model" in row:
        return prompt_of(row["prompt"], place), ground_truth_of(row["reward_model"], place)
    if not isinstance(question, str) or not question.strip():
        raise UserError(
            f'{place}, has no question; each row needs "question" and "answer", but its columns are '
            f"{columns_in(row)}; {_FIX}"
        )
    found = [answer for name in _ANSWERS for answer in answers_of(row.get(name), place, name)]
    if not found and "reward_model" in row:
        found = list(ground_truth_of(row["reward_model"], place))
    return text_of(question, place, "question"), tuple(dict.fromkeys(found))


def _trivia_id(row: Row) -> object:
    """TriviaQA's id, which its original files call ``QuestionId``; other data sets are numbered as before."""
    return (row.get("question_id") or row.get("questionid")) if isinstance(row.get("answer"), Mapping) else None


def _no_answer(row: Row, identity: str, place: str) -> tuple[str, ...]:
    raise UserError(
        f"{place}: the question {identity!r} has no answer; its columns are {columns_in(row)}; test files have no "
        f"answers, use train or dev, or {_FIX}"
    )


def entity_aliases(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Aliases and demonyms of the entities in 2Wiki's ``id_aliases.json`` by id; empty if a folder has no such file.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / _ALIASES
    return _entity_aliases(file, file.stat().st_mtime_ns) if file.is_file() else {}


@lru_cache(maxsize=1)
def _entity_aliases(file: Path, _changed: int) -> Mapping[str, tuple[str, ...]]:
    aliases = dict[str, tuple[str, ...]]()
    for position, row in read_rows(file):
        names = [name for key in ("aliases", "demonyms") for name in row.get(key) or []]
        if not isinstance(row.get("Q_id"), str) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{file}, {position}, has no Q_id or no list of aliases; use the file of the data set")
        aliases[row["Q_id"]] = answers_of(names, f"{file}, {position}", "aliases") if names else ()
    return aliases
