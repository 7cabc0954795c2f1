"""ReAct's Wikipedia environment over a local corpus: search, lookup, finish and think, including its quirks.

The rules follow the Wikipedia environment of ReAct (Yao et al., 2023). A `RetrievalIndex` replaces the live site: pages
are found by title, and similar titles by the words of a missing title.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from rollout.tools.retrieval.index import RetrievalIndex

FIRST_OBSERVATION = "Interact with Wikipedia using search[], lookup[], and finish[].\n"
NO_MORE_RESULTS = "No more results.\n"
THOUGHT_REPLY = "Nice thought."
_ACTION = re.compile(r"(?P<name>search|lookup|finish|think)\[(?P<argument>.*)\]", re.DOTALL)
_DISAMBIGUATION = "may refer to:"
_FIRST_SENTENCES = 5
_SIMILAR_TITLES = 5


class Reply(NamedTuple):
    """The reply to one action. ``answer`` is the argument of ``finish``, None for other actions."""

    observation: str
    understood: bool = True
    answer: str | None = None


@dataclass(slots=True)
class _Lookup:
    """Sentences that contain ``keyword``, and the number of them already shown."""

    keyword: str
    results: list[str]
    shown: int = 0


class Wiki:
    """A session: the open page and the state of the last lookup."""

    def __init__(self, pages: RetrievalIndex) -> None:
        self._pages = pages
        self._page: str | None = None
        self._lookup: _Lookup | None = None

    def copy(self) -> Wiki:
        """Copy the session; the pages are shared."""
        clone = Wiki(self._pages)
        clone._page, clone._lookup = self._page, self._lookup and replace(self._lookup)
        return clone

    def do(self, action: str) -> Reply:
        """Execute an action. Outer white space is ignored; every text gets a reply."""
        action = action.strip()
        match = _ACTION.fullmatch(action)
        if match is None:
            return Reply(f"Invalid action: {action}", understood=False)
        argument = match["argument"]
        if match["name"] == "search":
            return Reply(self.search(argument))
        if match["name"] == "lookup":
            return Reply(self.lookup(argument))
        return Reply("", answer=argument) if match["name"] == "finish" else Reply(THOUGHT_REPLY)

    def search(self, entity: str) -> str:
        """Open the page ``entity``, or list five similar titles without any change of state.

        A disambiguation page is not opened; its title is searched for again in brackets, as in ReAct.
        """
        document = self._pages.find_title(entity)
        while document is not None and any(_DISAMBIGUATION in p for p in document.text.split("\n")):
            entity = f"[{entity}]"
            document = self._pages.find_title(entity)
        if document is None:
            return f"Could not find {entity}. Similar: {self._pages.similar_titles(entity, _SIMILAR_TITLES)}."
        self._page = page_of(document.text)
        self._lookup = None
        return " ".join(sentences_of(self._page)[:_FIRST_SENTENCES])

    def lookup(self, keyword: str) -> str:
        """The next sentence of the open page that contains ``keyword``, ignoring case."""
        if self._lookup is None or self._lookup.keyword != keyword:
            wanted, sentences = keyword.lower(), sentences_of(self._page or "")
            self._lookup = _Lookup(keyword, [sentence for sentence in sentences if wanted in sentence.lower()])
        state = self._lookup
        if state.shown >= len(state.results):
            return NO_MORE_RESULTS
        state.shown += 1
        return f"(Result {state.shown} / {len(state.results)}) {state.results[state.shown - 1]}"


def page_of(text: str) -> str:
    """Paragraphs of more than two words, one per line."""
    return "".join(f"{line.strip()}\n" for line in text.split("\n") if len(line.strip().split(" ")) > 2)


def sentences_of(page: str) -> list[str]:
    """Split paragraphs at ``". "`` and append a full stop to each part, so the last part of a paragraph gets two."""
    parts = (part.strip() for paragraph in page.split("\n") for part in paragraph.strip().split(". "))
    return [f"{part}." for part in parts if part]
