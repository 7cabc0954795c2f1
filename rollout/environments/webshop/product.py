"""What the shop sells and what a shopper may be asked to buy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """One product, as its pages and the reward need it.

    Attributes:
        asin: its id, up to ten characters.
        prices: one price in dollars, or the two ends of a range.
        options: the values of each option in the order of the page, all lower-case.
        category: department, such as ``beauty``.
        query: the search words under which it was once found, lower-case; products of one kind share them.
        product_category: path of categories, joined by ``›``.
        attributes: phrases that hold for it.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    prices: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]

    @property
    def price_tag(self) -> str:
        """``$9.5``, or ``$9.5 to $12.0``."""
        return " to ".join(f"${price}" for price in self.prices[:2])

    def searchable(self) -> str:
        """The lower-case text that the search looks through."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return f"{self.title} {self.description} {self.bullets[0] if self.bullets else ''} {options}".lower()

    def to_json(self) -> bytes:
        """One line without the final newline."""
        fields = [getattr(self, name) for name in self.__slots__]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    @classmethod
    def from_json(cls, line: bytes) -> Product:
        """The contrary of `to_json`."""
        fields = dict(zip(cls.__slots__, json.loads(line.decode("utf-8", "surrogatepass")), strict=True))
        fields["options"] = {name: tuple(values) for name, values in fields["options"].items()}
        return cls(**fields | {name: tuple(fields[name]) for name in ("bullets", "prices", "attributes")})


@dataclass(frozen=True, slots=True)
class Goal:
    """What to buy.

    Attributes:
        instruction: the wish in words.
        product: the product that it was written for.
        attributes: phrases that should hold for what is bought, at least one.
        options: wanted (name, value) pairs, or plain values (name None) where people wrote the wish.
        price_upper: what it may cost at most, in dollars.
    """

    instruction: str
    product: Product
    attributes: tuple[str, ...]
    options: tuple[tuple[str | None, str], ...]
    price_upper: float
