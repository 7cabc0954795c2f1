"""WebShop's pages: their lines, their two text formats and their clickable elements.

A page is the list of strings that a browser would show; ``text`` and ``text_rich`` are its two formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rollout.environments.webshop.product import Product

Look = Literal["plain", "button", "option", "product"]
ObservationMode = Literal["text", "text_rich"]

PRODUCTS_A_PAGE = 10
BACK, PREVIOUS, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")


@dataclass(frozen=True, slots=True)
class Line:
    """One visible string. ``option`` is the option name if the string is an option value."""

    text: str
    look: Look = "plain"
    option: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of a page and its URL."""

    lines: tuple[Line, ...]
    url: str

    def clickables(self) -> dict[str, Line]:
        """Clickable lines (buttons, products, options) by text. The last of equal texts wins."""
        named = {line.text.lower(): line for look in ("button", "product") for line in self._of(look)}
        return named | {line.text: line for line in self._of("option")}

    def _of(self, look: str) -> list[Line]:
        return [line for line in self.lines if line.look == look]

    def text(self, mode: ObservationMode, visited: frozenset[str]) -> str:
        """The page as text; ``visited`` are the products marked as clicked."""
        shown = [line for line in self.lines if line.text and (line.text.strip() or "\n" not in line.text)]
        if mode == "text":
            return " [SEP] ".join(line.text.strip() for line in shown)
        # WebShop searches the whole URL for the quoted value.
        chosen = [line.text for line in shown if line.look == "option" and f'"{line.text}"' in self.url]
        head = "".join(f"You have clicked {value}.\n" for value in reversed(chosen))
        return head + "".join(f"{self._rich(line, visited, chosen)}\n" for line in shown)

    def _rich(self, line: Line, visited: frozenset[str], chosen: Sequence[str]) -> str:
        if line.look == "plain":
            return line.text
        clicked = line.text in (visited if line.look == "product" else chosen if line.look == "option" else ())
        before = {"button": "", "product": "\n", "option": "  "}[line.look]
        word = "clicked button" if clicked else "button"
        return f"{before}[{word}] {line.text} [{word}_]"


def _heading(instruction: str) -> list[Line]:
    return [Line("Instruction:"), Line(instruction), Line(BACK, "button")]


def search_page(instruction: str, url: str) -> Page:
    """The first page: the instruction and a search bar."""
    return Page((Line("WebShop"), Line("Instruction: "), Line(instruction), Line("Search", "button")), url)


def results_page(instruction: str, products: Sequence[Product], page: int, total: int, url: str) -> Page:
    """A results page. ``products`` are the products of this page; ``page`` counts from 1."""
    lines = [*_heading(instruction), Line(f"Page {page} (Total results: {total})")]
    lines += [Line(PREVIOUS, "button")] * (page > 1)
    lines.append(Line(NEXT, "button"))
    for product in products:
        lines += [Line(product.asin, "product"), Line(product.title), Line(product.price_tag)]
    return Page(tuple(lines), url)


def item_page(instruction: str, product: Product, url: str) -> Page:
    """The page of a product with its options."""
    lines = [*_heading(instruction), Line(PREVIOUS, "button")]
    for name, values in product.options.items():
        lines.append(Line(name))
        lines += [Line(value, "option", name) for value in values]
    lines += [Line(product.title), Line(f"Price: {product.price_tag}"), Line("Rating: N.A.")]
    lines += [Line(name, "button") for name in (*SUB_PAGES, BUY)]
    return Page(tuple(lines), url)


def sub_page(instruction: str, product: Product, name: str, url: str) -> Page:
    """The description, features or reviews of a product; reviews are always empty."""
    lines = [*_heading(instruction), Line(PREVIOUS, "button")]
    if name == "Description":
        lines.append(Line(product.description))
    elif name == "Features":
        lines += [Line(f" {bullet}") for bullet in product.bullets]
    return Page(tuple(lines), url)


def done_page(asin: str, options: Mapping[str, str], reward: float, url: str) -> Page:
    """The confirmation page after a purchase, as in WebShop's simulator."""
    bought = json.dumps(options, sort_keys=True)
    texts = (
        *("Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"),
        *("Purchased", "asin", asin, "options", bought, "attrs", "None", "category", "None", "query", "None"),
        *("product category", "None", "Target", "asin", "options", "attrs", "price upper", "instuction text"),
        *("category", "product category", "query", "Goal ", "None", "Reward", "Your score (min 0.0, max 1.0)"),
        *(str(reward), "Reward Details ", "None"),
    )
    return Page(tuple(map(Line, texts)), url)
