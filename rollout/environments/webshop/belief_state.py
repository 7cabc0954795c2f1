"""What a shopper can know from what it has read: the wish, and the page before it, in either way of writing it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rollout.environments.webshop.goods import OPTIONS

PageKind = Literal["search", "results", "item", "features", "done"]

_TASK = re.compile(r"Instruction:\s*(?:\[SEP\]\s*)?(.+?)\s*(?:\[SEP\]|\n|\Z)")
_LIMIT = re.compile(r",? and price lower than ([\d.]+) dollars")
_SORT = re.compile(r"(?:find|buy|get) an? (?P<sort>.+?) that is (?P<attributes>.+)")
_OPTION = re.compile(r"([^:,]+): (.+)")
_BUTTON = re.compile(r"\[(?:clicked )?button\] (.*) \[(?:clicked )?button_\]")
_PRICE = re.compile(r"\$([\d.]+)")
_RESULTS = re.compile(r"Page \d+ \(Total results: \d+\)")
_TITLE = re.compile(r"\w+ (?P<sort>[a-z ]+), (?P<attributes>[a-z ,-]+)")


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """A wish as a shopper reads it.

    Attributes:
        sort: the kind of goods; where the wish does not name it apart, all words before the options.
        attributes: what should be true of it.
        options: (name, value) pairs; the name is empty where none is given.
        limit: dollars that it may cost.
    """

    sort: str
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    limit: float


def read_wish(text: str) -> ParsedTask:
    """The wish on the first page.

    Raises:
        ValueError: the text shows none.
    """
    match = _TASK.search(text)
    if match is None:
        raise ValueError(f"no shopping wish is stated in {text[:120]!r}")
    wish = match.group(1)
    limit = _LIMIT.search(wish)
    body = _LIMIT.sub("", wish)
    head, separator, tail = body.rpartition(" with ") if _OPTION.search(body) else (body, "", "")
    options = [_OPTION.fullmatch(part) for part in tail.split(", and ")] if separator else []
    pairs = tuple((option[1], option[2]) for option in options if option)
    sort = _SORT.fullmatch(head)
    if sort is None:
        return ParsedTask(head, (), pairs, float(limit.group(1)) if limit else 1e6)
    return ParsedTask(
        sort["sort"], tuple(sort["attributes"].split(" and ")), pairs, float(limit.group(1)) if limit else 1e6
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of the results. ``price`` is the lower end of a range."""

    asin: str
    title: str
    price: str

    @property
    def dollars(self) -> float:
        match = _PRICE.search(self.price)
        return float(match.group(1)) if match else 0.0

    @property
    def said(self) -> tuple[str, tuple[str, ...]] | None:
        """The kind of goods and the attributes in a generated title; None for any other title."""
        match = _TITLE.fullmatch(self.title)
        return (match["sort"], tuple(match["attributes"].split(" and "))) if match else None


@dataclass(frozen=True, slots=True)
class View:
    """A page as a shopper reads it.

    Attributes:
        kind: which of the shop's pages.
        parts: its strings in order, without marks of buttons.
        offers: of a page of results.
    """

    kind: PageKind
    parts: tuple[str, ...]
    offers: tuple[Offer, ...] = ()

    def says(self, phrase: str) -> bool:
        """Whether ``phrase`` stands on the page, below the wish."""
        return any(phrase.lower() in part.lower() for part in self.parts[2:])

    def options(self) -> Mapping[str, Sequence[str]]:
        """The values of each option on the page of a generated product."""
        found: dict[str, list[str]] = {}
        values: list[str] = []
        for part in self.parts[2:]:
            if part in OPTIONS:
                values = found[part] = []
            elif found and part in OPTIONS[list(found)[-1]]:
                values.append(part)
        return found


def read_page(text: str) -> View:
    """Read an observation in either mode."""
    if " [SEP] " in text:
        parts = [part.strip() for part in text.split(" [SEP] ")]
    else:
        lines = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith("You have clicked ")]
        parts = [match.group(1) if (match := _BUTTON.fullmatch(line)) else line for line in lines]
    if parts[:1] == ["WebShop"]:
        return View("search", tuple(parts))
    if "Buy Now" in parts:
        return View("item", tuple(parts))
    if any(_RESULTS.fullmatch(part) for part in parts):
        rest = parts[parts.index("Next >") + 1 :] if "Next >" in parts else []
        offers = (Offer(*rest[start : start + 3]) for start in range(0, len(rest) - 2, 3))
        return View("results", tuple(parts), tuple(offers))
    return View("features" if "< Prev" in parts else "done", tuple(parts))
