"""An index of documents: exact titles and BM25 over words, in memory or memory-mapped from a folder.

A folder contains ``index.json`` (version, settings, fingerprint of the corpus; written last), the documents as an Arrow
file, a table of title keys and the BM25 arrays. All processes of a machine share one copy in the page cache.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from rollout.errors import UserError
from rollout.tools.retrieval.config import LexicalConfig
from rollout.tools.retrieval.documents import Document, Hit
from rollout.tools.retrieval.keys import KeyTable, key_hash
from rollout.tools.retrieval.lexical import LexicalIndex, WordRows
from rollout.tools.retrieval.words import title_key

INDEX_VERSION = 1
META_FILE = "index.json"
DOCUMENTS_FILE = "documents.arrow"
WORDS_FOLDER = "words"
TITLES = "titles"
_DOCUMENTS_PER_TITLE = 4
"""Documents to search per requested title, because passages of one page share a title."""


class Retriever(Protocol):
    """Interface of a search index: this index, a dense one or a custom one."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to ``k`` hits for each query, best first."""


class Documents(Protocol):
    """Documents, accessed by row."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Document: ...


class ArrowDocuments:
    """Documents in a memory-mapped Arrow file."""

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        self._columns = [table.column(name) for name in ("id", "title", "text")]
        self._count: int = table.num_rows

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int, /) -> Document:
        return Document(*(column[row].as_py() for column in self._columns))


class RetrievalIndex:
    """Finds documents by title and by words. Read-only and thread-safe.

    Args:
        documents: documents by row.
        titles: maps `title_key` to rows.
        lexical: index of the words in the same rows; None builds it at the first search.
    """

    def __init__(
        self,
        documents: Documents,
        titles: KeyTable,
        lexical: LexicalIndex | None = None,
        config: LexicalConfig | None = None,
    ) -> None:
        self._documents = documents
        self._titles = titles
        self._loaded_lexical = lexical
        self._config = config or LexicalConfig()

    @classmethod
    def from_documents(cls, documents: Sequence[Document], config: LexicalConfig | None = None) -> RetrievalIndex:
        """Create an index in memory; words are indexed at the first search."""
        titles = KeyTable.from_hashes(array("Q", (key_hash(title_key(document.title)) for document in documents)))
        return cls(documents, titles, config=config)

    @classmethod
    def open(cls, folder: str | Path) -> RetrievalIndex:
        """Open the index in ``folder``.

        Raises:
            UserError: there is no index, it has another version, or it is damaged.
        """
        path = Path(folder).expanduser()
        read_meta(path)
        try:
            documents, titles = ArrowDocuments(path / DOCUMENTS_FILE), KeyTable.load(path, TITLES)
            index = cls(documents, titles, LexicalIndex.load(path / WORDS_FOLDER))
        except (OSError, ValueError, EOFError, KeyError, pa.ArrowInvalid) as error:
            raise UserError(
                f"the index in {path} is damaged ({error}); delete the folder and build it again"
            ) from error
        if len(documents) != len(titles.hashes):
            raise UserError(
                f"the index in {path} is damaged (its parts differ in length); delete it and build it again"
            )
        return index

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, row: int, /) -> Document:
        return self._documents[row]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to ``k`` documents that share words with each query, best first."""
        return [[self._documents[row].hit(score) for row, score in self._lexical.top(query, k)] for query in queries]

    def similar_titles(self, query: str, k: int) -> list[str]:
        """Return up to ``k`` different titles of documents that share words with ``query``, best first."""
        titles: dict[str, None] = {}
        for row, _ in self._lexical.top(query, _DOCUMENTS_PER_TITLE * k):
            titles[self._documents[row].title] = None
            if len(titles) == k:
                break
        return list(titles)

    def find_title(self, title: str) -> Document | None:
        """Return the document with exactly this title, else the first whose `title_key` is the same."""
        key = title_key(title)
        documents = [self._documents[row] for row in self._titles.find(key)]
        same = [document for document in documents if title_key(document.title) == key]
        return next((document for document in same if document.title == title), next(iter(same), None))

    @cached_property
    def _lexical(self) -> LexicalIndex:
        if self._loaded_lexical is not None:
            return self._loaded_lexical
        rows = WordRows(self._config.title_weight)
        for row in range(len(self._documents)):
            rows.add(self._documents[row].title, self._documents[row].text)
        return LexicalIndex.build(rows, self._config)


def read_meta(folder: Path) -> dict[str, Any]:
    """Read an index's metadata. Raises `UserError` if there is no index, or it is damaged or of another version."""
    try:
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        version = meta["version"]
    except FileNotFoundError as error:
        raise UserError(
            f"there is no index in {folder} ({META_FILE} is missing); build it with "
            f"`python -m rollout.tools.retrieval.build CORPUS {folder}`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the index in {folder} is damaged ({error}); delete the folder and build it again") from error
    if version != INDEX_VERSION:
        raise UserError(
            f"the index in {folder} is of version {version}, but this program reads version {INDEX_VERSION}; "
            f"delete it and build it again with `python -m rollout.tools.retrieval.build CORPUS {folder}`"
        )
    return dict(meta)
