"""Products and goals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """A product with the fields that its pages and the reward use.

    Attributes:
        asin: its id, up to ten characters.
        prices: one price in dollars, or the two ends of a range.
        options: the values of each option in the order of the page, all lower-case.
        category: department, such as ``beauty``.
        query: the lower-case query under which WebShop found it; products of one type share it.
        product_category: path of categories, joined by ``›``.
        attributes: its attributes.
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
        """The lower-case text that the search indexes."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return f"{self.title} {self.description} {self.bullets[0] if self.bullets else ''} {options}".lower()

    def to_json(self) -> bytes:
        """One JSON line without the final newline."""
        fields = [getattr(self, name) for name in self.__slots__]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    @classmethod
    def from_json(cls, line: bytes) -> Product:
        """Inverse of `to_json`."""
        fields = dict(zip(cls.__slots__, json.loads(line.decode("utf-8", "surrogatepass")), strict=True))
        fields["options"] = {name: tuple(values) for name, values in fields["options"].items()}
        return cls(**fields | {name: tuple(fields[name]) for name in ("bullets", "prices", "attributes")})


@dataclass(frozen=True, slots=True)
class Goal:
    """The product to buy.

    Attributes:
        instruction: the task as text.
        product: the product for which the goal was created.
        attributes: wanted attributes, at least one.
        options: wanted (name, value) pairs, or values without names (name None) in human instructions.
        price_upper: maximum price in dollars.
    """

    instruction: str
    product: Product
    attributes: tuple[str, ...]
    options: tuple[tuple[str | None, str], ...]
    price_upper: float
