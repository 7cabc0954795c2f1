"""Documents of a corpus, and the dumps that they are read from."""

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
    """A page or passage; paragraphs are separated by newlines."""

    id: str
    title: str
    text: str

    def hit(self, score: float) -> Hit:
        """This document as a search result."""
        return Hit(self.id, self.title, self.text, score)


@dataclass(frozen=True, slots=True)
class Hit(Document):
    """A search result. Higher scores are better; scores are comparable only within one search."""

    score: float


def corpus_files(corpus: str | Path) -> list[Path]:
    """The files of a dump, in order: the file itself, or all files of a supported format below a folder.

    Raises:
        UserError: there is no file to read.
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
    """Yield the documents of a dump (a file or a folder of files).

    A row has ``title``, ``text`` and optionally ``id``, which defaults to its number. The text may be a string, a list
    of sentences, or a list of such lists, one per paragraph (HotpotQA's dumps). Instead of title and text, a row may
    have ``contents`` with a quoted title on its first line and the text below (common passage dumps).

    Raises:
        UserError: a file is missing, damaged or not UTF-8, or a row has no title or no text.
    """
    count = 0
    for path in corpus_files(corpus):
        for place, row in read_rows(path):
            yield _document(row, count, path, place)
            count += 1


def paragraph(sentences: Iterable[str]) -> str:
    """Join sentences into one line, with a space before those that do not begin with one."""
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
    """Convert a string, a list of sentences or a list of paragraphs to text; None for other values."""
    if isinstance(body, str):
        return body
    if not isinstance(body, Sequence):
        return None
    if all(isinstance(part, str) for part in body):
        return paragraph(body)
    parts = [_text(part) for part in body]
    return None if None in parts else "\n".join(part for part in parts if part)
