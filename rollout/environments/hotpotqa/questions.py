"""Reads question files of HotpotQA, 2WikiMultiHopQA, MuSiQue and Bamboogle, in official and common mirrored formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rollout.errors import UserError
from rollout.storage.rows import Row, read_rows
from rollout.tools.retrieval.documents import Document, paragraph

_MAX_CACHED_FILES = 2


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


def load_questions(path: str | Path) -> Mapping[str, LoadedQuestion]:
    """Load the questions of a file by id, in order. Files are cached until they change.

    Unanswerable questions of MuSiQue are skipped.

    Raises:
        UserError: the file is missing, damaged or empty, a question has no answer, or two questions share an id.
    """
    file = Path(path).expanduser().resolve()
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"there is no file {file}; check the path") from error
    return _load(file, changed)


@lru_cache(maxsize=_MAX_CACHED_FILES)
def _load(path: Path, _changed: int) -> Mapping[str, LoadedQuestion]:
    questions: dict[str, LoadedQuestion] = {}
    for number, (place, row) in enumerate(read_rows(path)):
        if row.get("answerable") is False:
            continue
        question = _question(row, number, f"{path}, {place}")
        if question.id in questions:
            raise UserError(f"{path}, {place}: the id {question.id!r} occurs twice; give each question its own")
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


def _question(row: Row, number: int, place: str) -> LoadedQuestion:
    row = {key.strip().lower(): value for key, value in row.items()}
    identity = str(row.get("_id") or row.get("id") or number)
    text = row.get("question")
    if not isinstance(text, str) or not text.strip():
        raise UserError(f'{place}, has no question; each row needs "question" and "answer"')
    answers = _answers(row)
    if not answers:
        raise UserError(
            f"{place}: the question {identity!r} has no answer; test files have no answers, use train or dev"
        )
    try:
        paragraphs, titles = _paragraphs(row), _titles(row)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{place}: the paragraphs of question {identity!r} have an unknown format ({error}); "
            "use the official files or their common Parquet mirrors"
        ) from error
    return LoadedQuestion(
        identity, text.strip(), answers, _type(row, identity), merge_pages(paragraphs), tuple(dict.fromkeys(titles))
    )


def _answers(row: Row) -> tuple[str, ...]:
    """Accepted answers, the official one first."""
    given: Any = row.get("answer")
    found: list[Any] = [given] if isinstance(given, str | int | float) else list(given or [])
    for key in ("golden_answers", "answer_aliases", "answer_alias"):
        found += list(row.get(key) or [])
    return tuple(dict.fromkeys(text for answer in found if (text := str(answer).strip())))


def _type(row: Row, identity: str) -> str:
    """The official type; for MuSiQue the number of hops, which is the prefix of its ids (``2hop``, ``3hop1``)."""
    if isinstance(row.get("type"), str):
        return str(row["type"])
    head = identity.partition("__")[0]
    return head if "hop" in head else ""


def _paragraphs(row: Row) -> list[tuple[str, str]]:
    if "paragraphs" in row:  # MuSiQue
        return [(str(p["title"]), str(p["paragraph_text"])) for p in row["paragraphs"]]
    context: Any = row.get("context") or []
    if isinstance(context, Mapping):  # Parquet mirrors store lists of pairs as two columns
        sentences = context["sentences"] if "sentences" in context else context["content"]
        context = list(zip(context["title"], sentences, strict=True))
    return [(str(title), paragraph(_strings(sentences))) for title, sentences in context]


def _titles(row: Row) -> list[str]:
    if "paragraphs" in row:
        return [str(p["title"]) for p in row["paragraphs"] if p.get("is_supporting")]
    facts: Any = row.get("supporting_facts") or []
    if isinstance(facts, Mapping):
        return [str(title) for title in facts["title"]]
    return [str(title) for title, _ in facts]


def _strings(sentences: Sequence[Any]) -> list[str]:
    if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TypeError("sentences must be a list of strings")
    return list(sentences)
