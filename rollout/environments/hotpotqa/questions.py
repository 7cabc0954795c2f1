"""Reads question files in official and common mirrored formats, with the paragraphs of HotpotQA, 2Wiki and MuSiQue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rollout.environments.data_sets.columns import Columns, check_total, rows_of
from rollout.environments.hotpotqa.formats import entity_aliases, read_question
from rollout.errors import UserError
from rollout.storage.rows import Row
from rollout.tools.retrieval.documents import Document, paragraph

_MAX_CACHED_FILES = 8


@dataclass(frozen=True, slots=True)
class LoadedQuestion:
    """A question of a data set.

    Attributes:
        answers: accepted answers, the official one first.
        type: question type as the data set names it; may be empty.
        pages: paragraphs of the question, merged by title; may be empty.
        titles: titles of the supporting pages, if the data set lists them.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    type: str
    pages: tuple[Document, ...]
    titles: tuple[str, ...]


def load_questions(path: str | Path, columns: Columns | None = None, part: int = 0) -> Mapping[str, LoadedQuestion]:
    """Load the questions of a file by id, in order. Files are cached until they change.

    Unanswerable questions of MuSiQue are skipped, and repetitions of a question in TriviaQA. Questions of 2Wiki also
    accept the aliases of their answer in ``id_aliases.json`` beside the file. Rows without an id are numbered.

    Args:
        path: the file.
        columns: columns of question and answer; None uses those of known data sets.
        part: position of the file among the files of its split; after the first it comes before the number of a row.

    Raises:
        UserError: the file is missing, damaged or empty, its columns are not known, a question has no answer, or two
            questions share an id.
    """
    file = Path(path).expanduser().resolve()
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"there is no file {file}; check the path") from error
    return _load(file, changed, columns, part)


@lru_cache(maxsize=_MAX_CACHED_FILES)
def _load(path: Path, _changed: int, columns: Columns | None, part: int) -> Mapping[str, LoadedQuestion]:
    questions: dict[str, LoadedQuestion] = {}
    total = 0
    for number, (_, place, row) in enumerate(rows_of([path])):
        if row.get("answerable") is False:
            continue
        question = _question(row, f"{part}-{number}" if part else str(number), place, columns)
        if question.id in questions:
            if {"question_id", "questionid"} & row.keys() and question == questions[question.id]:
                continue
            raise UserError(f"{place}: the id {question.id!r} occurs twice; give each question its own")
        total += len(question.text) + sum(map(len, question.answers))
        check_total(total, place)
        questions[question.id] = question
    if not questions:
        raise UserError(f"{path} has no questions; check that it is the right file and complete")
    return questions


def merge_pages(paragraphs: Iterable[tuple[str, str]]) -> tuple[Document, ...]:
    """Merge paragraphs into one page per title; duplicates are dropped and the order is kept."""
    merged: dict[str, dict[str, None]] = {}
    for title, text in paragraphs:
        merged.setdefault(title, {})[text] = None
    return tuple(Document(str(i), title, "\n".join(texts)) for i, (title, texts) in enumerate(merged.items()))


def _question(row: Row, number: str, place: str, columns: Columns | None) -> LoadedQuestion:
    identity, text, answers = read_question(row, number, place, columns)
    if isinstance(row.get("answer_id"), str):
        folder = Path(place.rpartition(", ")[0]).parent
        answers = tuple(dict.fromkeys((*answers, *entity_aliases(folder).get(row["answer_id"], ()))))
    try:
        paragraphs, titles = _paragraphs(row), _titles(row)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: the paragraphs of question {identity!r} have an unknown format ({error}); "
            "use the official files or their common Parquet mirrors"
        ) from error
    return LoadedQuestion(
        identity, text, answers, _type(row, identity), merge_pages(paragraphs), tuple(dict.fromkeys(titles))
    )


def _type(row: Row, identity: str) -> str:
    """The official type; for MuSiQue the number of hops, which is the prefix of its ids (``2hop``, ``3hop1``)."""
    if isinstance(row.get("type"), str):
        return str(row["type"])
    head = identity.partition("__")[0]
    return head if "hop" in head else ""


def _paragraphs(row: Row) -> list[tuple[str, str]]:
    if "paragraphs" in row:  # MuSiQue
        return [(str(p["title"]), str(p["paragraph_text"])) for p in row["paragraphs"]]
    context: Any = _decoded(row.get("context") or [])
    if isinstance(context, Mapping):  # Parquet mirrors store lists of pairs as two columns
        sentences = context["sentences"] if "sentences" in context else context["content"]
        context = list(zip(context["title"], sentences, strict=True))
    return [(str(title), paragraph(_strings(sentences))) for title, sentences in context]


def _titles(row: Row) -> list[str]:
    if "paragraphs" in row:
        return [str(p["title"]) for p in row["paragraphs"] if p.get("is_supporting")]
    facts: Any = _decoded(row.get("supporting_facts") or [])
    if isinstance(facts, Mapping):
        return [str(title) for title in facts["title"]]
    return [str(title) for title, _ in facts]


def _decoded(value: Any) -> Any:
    """A value that a Parquet mirror of 2Wiki stores as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _strings(sentences: Sequence[Any]) -> list[str]:
    if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TypeError("sentences must be a list of strings")
    return list(sentences)
