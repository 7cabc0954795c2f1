"""Builds the index of a corpus in a folder, once for all processes.

    python -m rollout.tools.retrieval.build CORPUS FOLDER

The index is built in a temporary folder and moved into place when it is complete. A lock keeps other processes from
building it at the same time.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pyarrow as pa
from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from rollout.errors import UserError
from rollout.storage.atomic import atomic_write
from rollout.storage.cache import cache_folder
from rollout.storage.locks import build_once
from rollout.tools.retrieval.config import LexicalConfig
from rollout.tools.retrieval.documents import Document, corpus_files, read_documents
from rollout.tools.retrieval.index import (
    DOCUMENTS_FILE,
    INDEX_VERSION,
    META_FILE,
    TITLES,
    WORDS_FOLDER,
    ArrowDocuments,
    RetrievalIndex,
    read_meta,
)
from rollout.tools.retrieval.keys import KeyTable, key_hash
from rollout.tools.retrieval.lexical import LexicalIndex, WordRows
from rollout.tools.retrieval.words import title_key

Progress = Callable[[int], object]
"""Called with the number of documents processed so far."""

_SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_ROWS_PER_BATCH = 5000


def no_progress(count: int) -> None:
    """Ignore progress."""


def default_folder(corpus: str | Path) -> Path:
    """Default folder for a corpus's index: below ``$STILLHOUSE_CACHE`` or ``~/.cache/stillhouse``."""
    path = Path(corpus).expanduser().resolve()
    return cache_folder("retrieval") / f"{path.name}-{sha256(str(path).encode()).hexdigest()[:12]}"


def open_or_build(
    corpus: str | Path,
    folder: str | Path | None = None,
    config: LexicalConfig | None = None,
    *,
    show_progress: bool = False,
) -> RetrievalIndex:
    """Open the index of a corpus, and build it first if necessary (see `ensure_index`)."""
    with _progress_bar(show_progress) as progress:
        return RetrievalIndex.open(ensure_index(corpus, folder, config, progress=progress))


def ensure_index(
    corpus: str | Path,
    folder: str | Path | None = None,
    config: LexicalConfig | None = None,
    *,
    progress: Progress = no_progress,
) -> Path:
    """Return the folder of a corpus's index; build it if it is missing or does not match the corpus and settings.

    Args:
        corpus: a dump (see `read_documents`), or the folder of an index.
        folder: folder of the index; None uses `default_folder`.

    Raises:
        UserError: the corpus is missing or damaged, or the folder contains other files.
    """
    config, given = config or LexicalConfig(), Path(corpus).expanduser()
    if (given / META_FILE).is_file():
        return given
    target = Path(folder).expanduser() if folder else default_folder(corpus)
    origin = _origin(corpus, config)
    if not _is_current(target, origin):
        _refuse_other_content(target)  # before a lock is placed beside it
    build_once(
        target,
        lambda: _is_current(target, origin),
        lambda: build_index(read_documents(corpus), target, config, origin=origin, progress=progress),
    )
    return target


def build_index(
    documents: Iterable[Document],
    folder: str | Path,
    config: LexicalConfig | None = None,
    *,
    origin: str = "",
    progress: Progress = no_progress,
) -> int:
    """Write the index of ``documents`` to ``folder``, replacing an existing one. Returns the number of documents.

    Raises:
        UserError: there are no documents, two have the same id, or the folder contains something other than an index.
    """
    config, target = config or LexicalConfig(), Path(folder).expanduser()
    _refuse_other_content(target)
    with atomic_write(target, replace_folder=True) as made:
        made.mkdir()
        count = _write(documents, made, config, progress)
        meta = {"version": INDEX_VERSION, "documents": count, "origin": origin, "config": config.model_dump()}
        (made / META_FILE).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return count


def _write(documents: Iterable[Document], folder: Path, config: LexicalConfig, progress: Progress) -> int:
    rows, titles, ids = WordRows(config.title_weight), array("Q"), array("Q")
    source = iter(documents)
    with pa.OSFile(str(folder / DOCUMENTS_FILE), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while batch := list(islice(source, _ROWS_PER_BATCH)):
            for document in batch:
                rows.add(document.title, document.text)
                titles.append(key_hash(title_key(document.title)))
                ids.append(key_hash(document.id))
            columns = [[d.id for d in batch], [d.title for d in batch], [d.text for d in batch]]
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=_SCHEMA))
            progress(len(titles))
    if not titles:
        raise UserError("the corpus has no documents; give it at least one row with a title and text")
    _refuse_duplicate_ids(KeyTable.from_hashes(ids), ArrowDocuments(folder / DOCUMENTS_FILE))
    KeyTable.from_hashes(titles).save(folder, TITLES)
    LexicalIndex.build(rows, config).save(folder / WORDS_FOLDER)
    return len(titles)


def _refuse_duplicate_ids(ids: KeyTable, documents: ArrowDocuments) -> None:
    for one, other in ids.duplicates():
        first, second = documents[one], documents[other]
        if first.id == second.id:
            raise UserError(
                f"two documents of the corpus have the id {first.id!r} ({first.title!r} at position {one + 1} and "
                f"{second.title!r} at position {other + 1}); make the ids unique or omit them"
            )


def _refuse_other_content(folder: Path) -> None:
    """Refuse to replace anything but an index, so that a mistyped path cannot delete other files."""
    if folder.exists() and not (folder / META_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} contains something other than an index; choose another folder")


def _origin(corpus: str | Path, config: LexicalConfig) -> str:
    """Fingerprint of the corpus files (name, size, time) and the settings."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in corpus_files(corpus)]
    return sha256(json.dumps([files, config.model_dump()]).encode()).hexdigest()


def _is_current(folder: Path, origin: str) -> bool:
    try:
        return bool(read_meta(folder)["origin"] == origin)
    except UserError:
        return False


@contextmanager
def _progress_bar(show: bool) -> Iterator[Progress]:
    """Show the number of indexed documents on the terminal once indexing starts."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, disable=not show)
    task = bar.add_task("indexing documents", total=None)

    def advance(count: int) -> None:
        bar.start()  # only when there is progress to show
        bar.update(task, completed=count)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def main(arguments: list[str]) -> int:
    """Build from the command line."""
    if len(arguments) != 2:
        print("usage: python -m rollout.tools.retrieval.build CORPUS FOLDER", file=sys.stderr)
        return 2
    try:
        index = open_or_build(arguments[0], arguments[1], show_progress=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(index)} documents in {arguments[1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
