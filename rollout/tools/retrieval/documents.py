"""Documents of a corpus, and the dumps they are read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.errors import UserError
from rollout.storage.rows import Row, file_format, read_rows

_IDS = ("id", "_id", "docid")
_TEXTS = ("text", "paragraphs", "sentences")


@dataclass(frozen=True, slots=True)
class Document:
    """A page or passage; paragraphs are separated by line ends."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found; a higher score is better, and scores compare within one search only."""

    id: str
    title: str
    text: str
    score: float


def corpus_files(corpus: str | Path) -> list[Path]:
    """The files of a dump, in order: the file itself, or all readable files below a folder.

    Raises:
        UserError: there is nothing to read.
    """
    path = Path(corpus).expanduser()
    found = sorted(p for p in path.rglob("*") if p.is_file() and file_format(p)) if path.is_dir() else [path]
    if not found or not found[0].exists():
        raise UserError(
            f"there is no corpus at {path}; point to a .jsonl, .jsonl.gz or .parquet file (or a folder of them) whose "
            'rows have "title" and "text"'
        )
    return found


def read_documents(corpus: str | Path) -> Iterator[Document]:
    """The documents of a dump (a file, or a folder of files).

    A row has ``title`` and ``text``, and ``id`` if it likes; without one it is numbered. Text may be a string, a list
    of sentences, or a list of such lists, one a paragraph (HotpotQA's dumps); ``contents`` may hold a quoted title on
    its first line and the text below (common passage dumps).

    Raises:
        UserError: a file is missing, damaged or not UTF-8, or a row has no title or no text.
    """
    count = 0
    for path in corpus_files(corpus):
        for place, row in read_rows(path):
            yield _document(row, count, path, place)
            count += 1


def paragraph(sentences: Iterable[str]) -> str:
    """Sentences in one line; those that bring no blank of their own get one."""
    text = ""
    for sentence in sentences:
        text += sentence if not text or sentence[:1].isspace() else f" {sentence}"
    return text.strip()


def _document(row: Row, number: int, path: Path, place: str) -> Document:
    identity = next((row[key] for key in _IDS if row.get(key) not in (None, "")), number)
    if isinstance(row.get("contents"), str) and "title" not in row:
        title, _, text = row["contents"].partition("\n")
        return Document(str(identity), title.strip().strip('"'), text)
    title, body = row.get("title"), next((row[key] for key in _TEXTS if row.get(key) is not None), None)
    if not isinstance(title, str) or not title.strip():
        raise UserError(f'{path}, {place}, has no title; each row needs "title" and "text"')
    text = _text(body)
    if text is None:
        raise UserError(f'{path}, {place} ({title}), has no text; each row needs "title" and "text"')
    return Document(str(identity), title, text)


def _text(body: Any) -> str | None:
    """The text of a string, of sentences, or of paragraphs of sentences; None for anything else."""
    if isinstance(body, str):
        return body
    if not isinstance(body, Sequence):
        return None
    if all(isinstance(part, str) for part in body):
        return paragraph(body)
    parts = [_text(part) for part in body]
    return None if None in parts else "\n".join(part for part in parts if part)
