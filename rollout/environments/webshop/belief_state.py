"""What an agent knows from its observations: the task and the current page, in either observation mode."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rollout.environments.webshop.goods import OPTIONS

PageKind = Literal["search", "results", "item", "features", "done"]

_TASK = re.compile(r"Instruction:\s*(?:\[SEP\]\s*)?(.+?)\s*(?:\[SEP\]|\n|\Z)")
_LIMIT = re.compile(r",? and price lower than ([\d.]+) dollars")
_GOODS = re.compile(r"(?:find|buy|get) an? (?P<product_type>.+?) that is (?P<attributes>.+)")
_OPTION = re.compile(r"([^:,]+): (.+)")
_BUTTON = re.compile(r"\[(?:clicked )?button\] (.*) \[(?:clicked )?button_\]")
_PRICE = re.compile(r"\$([\d.]+)")
_RESULTS = re.compile(r"Page \d+ \(Total results: \d+\)")
_TITLE = re.compile(r"\w+ (?P<product_type>[a-z ]+), (?P<attributes>[a-z ,-]+)")


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """A task parsed from its instruction.

    Attributes:
        product_type: the wanted product type; all words before the options if the instruction has another form.
        attributes: wanted attributes.
        options: wanted (name, value) pairs; the name is empty if none is given.
        limit: maximum price in dollars.
    """

    product_type: str
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    limit: float


def read_task(text: str) -> ParsedTask:
    """Parse the task on the first page.

    Raises:
        ValueError: the text states none.
    """
    match = _TASK.search(text)
    if match is None:
        raise ValueError(f"no shopping task is stated in {text[:120]!r}")
    task = match.group(1)
    limit = _LIMIT.search(task)
    body = _LIMIT.sub("", task)
    head, separator, tail = body.rpartition(" with ") if _OPTION.search(body) else (body, "", "")
    options = [_OPTION.fullmatch(part) for part in tail.split(", and ")] if separator else []
    pairs = tuple((option[1], option[2]) for option in options if option)
    dollars = float(limit.group(1)) if limit else 1e6
    goods = _GOODS.fullmatch(head)
    if goods is None:
        return ParsedTask(head, (), pairs, dollars)
    return ParsedTask(goods["product_type"], tuple(goods["attributes"].split(" and ")), pairs, dollars)


@dataclass(frozen=True, slots=True)
class Offer:
    """One product in the search results. ``price`` is the lower end of a range."""

    asin: str
    title: str
    price: str

    @property
    def dollars(self) -> float:
        match = _PRICE.search(self.price)
        return float(match.group(1)) if match else 0.0

    @property
    def title_parts(self) -> tuple[str, tuple[str, ...]] | None:
        """Product type and attributes in a generated title; None for any other title."""
        match = _TITLE.fullmatch(self.title)
        return (match["product_type"], tuple(match["attributes"].split(" and "))) if match else None


@dataclass(frozen=True, slots=True)
class View:
    """A parsed page.

    Attributes:
        kind: type of the page.
        parts: its strings in order, without button marks.
        offers: the products on a results page.
    """

    kind: PageKind
    parts: tuple[str, ...]
    offers: tuple[Offer, ...] = ()

    def contains(self, phrase: str) -> bool:
        """Whether the page contains ``phrase`` below the instruction."""
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
    """Parse an observation in either mode. The task below a first observation is not part of the page."""
    text = text.rpartition("\nYour task is to: ")[0] or text
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
