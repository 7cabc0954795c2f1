"""Builds the index of a corpus in a folder, once, whoever asks first.

    python -m rollout.tools.retrieval.build CORPUS FOLDER

The work is done in a temporary folder beside the place, which it takes when it is whole; a lock keeps two processes
from doing it at the same time.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from rollout.errors import UserError
from rollout.storage.atomic import atomic_write
from rollout.storage.locks import build_lock
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
from rollout.tools.retrieval.lexical import Lexical, WordRows
from rollout.tools.retrieval.words import title_key

Progress = Callable[[int], object]
"""Is told how many documents are done."""

_SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_ROWS_A_BATCH = 5000


def ignore(count: int) -> None:
    """The progress that nobody looks at."""


def default_folder(corpus: str | Path) -> Path:
    """Where the index of a corpus is kept: below ``$STILLHOUSE_CACHE``, else ``~/.cache/stillhouse``."""
    base = Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser()
    path = Path(corpus).expanduser().resolve()
    return base / "retrieval" / f"{path.name}-{sha256(str(path).encode()).hexdigest()[:12]}"


def open_or_build(
    corpus: str | Path,
    folder: str | Path | None = None,
    config: LexicalConfig | None = None,
    *,
    show_progress: bool = False,
) -> RetrievalIndex:
    """The index of a corpus, opened; see `built`."""
    with _bar(show_progress) as progress:
        return RetrievalIndex.open(built(corpus, folder, config, progress=progress))


def built(
    corpus: str | Path,
    folder: str | Path | None = None,
    config: LexicalConfig | None = None,
    *,
    progress: Progress = ignore,
) -> Path:
    """The folder of a corpus's index; built if it is missing, of another version or settings, or older than the corpus.

    Args:
        corpus: a dump (see `read_documents`), or a folder that is an index already.
        folder: where the index is kept; None is `default_folder`.

    Raises:
        UserError: the corpus is missing or damaged, or the folder holds something else.
    """
    config, given = config or LexicalConfig(), Path(corpus).expanduser()
    if (given / META_FILE).is_file():
        return given
    target = Path(folder).expanduser() if folder else default_folder(corpus)
    origin = _origin(corpus, config)
    if not _is_of(target, origin):
        with build_lock(target):
            if not _is_of(target, origin):  # another process may have built it meanwhile
                build_index(read_documents(corpus), target, config, origin=origin, progress=progress)
    return target


def build_index(
    documents: Iterable[Document],
    folder: str | Path,
    config: LexicalConfig | None = None,
    *,
    origin: str = "",
    progress: Progress = ignore,
) -> int:
    """Write the index of ``documents`` to ``folder``, in place of one that is there, and give their number.

    Raises:
        UserError: there is no document, two have one id, or the folder holds something that is no index.
    """
    config, target = config or LexicalConfig(), Path(folder).expanduser()
    _refuse_foreign(target)
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
        while batch := list(islice(source, _ROWS_A_BATCH)):
            for document in batch:
                rows.add(document.title, document.text)
                titles.append(key_hash(title_key(document.title)))
                ids.append(key_hash(document.id))
            columns = [[d.id for d in batch], [d.title for d in batch], [d.text for d in batch]]
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=_SCHEMA))
            progress(len(titles))
    if not titles:
        raise UserError("the corpus has no documents; give it at least one row with a title and text")
    _refuse_repeated(KeyTable.of(ids), ArrowDocuments(folder / DOCUMENTS_FILE))
    KeyTable.of(titles).save(folder, TITLES)
    Lexical.build(rows, config).save(folder / WORDS_FOLDER)
    return len(titles)


def _refuse_repeated(ids: KeyTable, documents: ArrowDocuments) -> None:
    for one, other in ids.repeated():
        first, second = documents[one], documents[other]
        if first.id == second.id:
            raise UserError(
                f"two documents of the corpus have the id {first.id!r} ({first.title!r} in place {one + 1} and "
                f"{second.title!r} in place {other + 1}); give each its own, or leave ids out"
            )


def _refuse_foreign(folder: Path) -> None:
    """Only an index is ever replaced: a mistyped path must not cost a user other files."""
    if folder.exists() and not (folder / META_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something that is no index; name another folder for it")


def _origin(corpus: str | Path, config: LexicalConfig) -> str:
    """Changes when a file of the corpus or a setting does."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in corpus_files(corpus)]
    return sha256(json.dumps([files, config.model_dump()]).encode()).hexdigest()


def _is_of(folder: Path, origin: str) -> bool:
    try:
        return bool(read_meta(folder)["origin"] == origin)
    except UserError:
        return False


@contextmanager
def _bar(show: bool) -> Iterator[Progress]:
    """A count on the terminal, where something is built."""
    if not show:
        yield ignore
        return
    from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    bar = Bar(*columns, TimeElapsedColumn())
    task = bar.add_task("indexing documents", total=None)

    def advance(count: int) -> None:
        bar.start()  # not before there is something to show
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
