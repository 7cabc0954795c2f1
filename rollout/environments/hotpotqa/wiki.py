"""ReAct's wiki environment over a local corpus: search, lookup, finish and think, oddities included.

Source of the rules: ReAct (Yao et al., 2023), its Wikipedia environment. What it scrapes from a live site comes from a
`RetrievalIndex` here: a page is found by its title, the similar titles of one that is not there by its words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from rollout.tools.retrieval.index import RetrievalIndex

FIRST_OBSERVATION = "Interact with Wikipedia using search[], lookup[], and finish[].\n"
NO_MORE_RESULTS = "No more results.\n"
NICE_THOUGHT = "Nice thought."
_ACTION = re.compile(r"(?P<name>search|lookup|finish|think)\[(?P<argument>.*)\]", re.DOTALL)
_DISAMBIGUATION = "may refer to:"
_FIRST_SENTENCES = 5
_SIMILAR_TITLES = 5


class Reply(NamedTuple):
    """The answer to one action. ``answer`` is what ``finish`` was given, None for other actions."""

    observation: str
    understood: bool = True
    answer: str | None = None


@dataclass(slots=True)
class _Lookup:
    """The sentences that hold ``keyword``, and how many of them were shown."""

    keyword: str
    results: list[str]
    shown: int = 0


class Wiki:
    """A reader's session: the open page and the state of the last lookup."""

    def __init__(self, pages: RetrievalIndex) -> None:
        self._pages = pages
        self._page: str | None = None
        self._lookup: _Lookup | None = None

    def copy(self) -> Wiki:
        """Another reader of the same pages, as far as this one has come."""
        twin = Wiki(self._pages)
        twin._page, twin._lookup = self._page, self._lookup and replace(self._lookup)
        return twin

    def do(self, action: str) -> Reply:
        """Do one action; outer white space is dropped, and any text is answered."""
        action = action.strip()
        match = _ACTION.fullmatch(action)
        if match is None:
            return Reply(f"Invalid action: {action}", understood=False)
        argument = match["argument"]
        if match["name"] == "search":
            return Reply(self.search(argument))
        if match["name"] == "lookup":
            return Reply(self.lookup(argument))
        return Reply("", answer=argument) if match["name"] == "finish" else Reply(NICE_THOUGHT)

    def search(self, entity: str) -> str:
        """Open the page ``entity``, or name five similar titles and leave everything as it is.

        A page that lists what its title may refer to is no page: its title is searched for again in brackets.
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
        """The next sentence of the open page that holds ``keyword``, whatever its case."""
        if self._lookup is None or self._lookup.keyword != keyword:
            wanted, sentences = keyword.lower(), sentences_of(self._page or "")
            self._lookup = _Lookup(keyword, [sentence for sentence in sentences if wanted in sentence.lower()])
        state = self._lookup
        if state.shown >= len(state.results):
            return NO_MORE_RESULTS
        state.shown += 1
        return f"(Result {state.shown} / {len(state.results)}) {state.results[state.shown - 1]}"


def page_of(text: str) -> str:
    """The paragraphs of more than two words, one a line."""
    paragraphs = (paragraph.strip() for paragraph in text.split("\n"))
    return "".join(f"{paragraph}\n" for paragraph in paragraphs if len(paragraph.split(" ")) > 2)


def sentences_of(page: str) -> list[str]:
    """Each paragraph cut at ``". "``, and a full stop put behind each part; so the last one of a paragraph has two."""
    paragraphs = (paragraph.strip() for paragraph in page.split("\n"))
    parts = (part.strip() for paragraph in paragraphs if paragraph for part in paragraph.split(". "))
    return [f"{part}." for part in parts if part]
