"""The folder of a shop: products, search index, prices and goals, in arrays that all workers of a node share.

The folder is written once under a temporary name and then renamed, so an incomplete shop is never opened.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollout.environments.webshop.build import FORMAT_VERSION, GOAL_KINDS, NO_LIMIT, build_shop
from rollout.environments.webshop.catalog import Listing
from rollout.environments.webshop.product import Goal, Product
from rollout.environments.webshop.search.analysis import terms
from rollout.environments.webshop.search.bm25 import Postings
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write
from rollout.storage.locks import build_once

_KEPT_BYTES = 1 << 24
"""Bytes of freed memory that the process keeps for the next search."""


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Report an error of the block as damage of the shop."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the shop in {folder} is damaged ({error}); delete that folder to have it rebuilt") from error


class Shop:
    """A catalog with its index and goals.

    Attributes:
        fingerprint: fingerprint of the catalog's source.
        num_products: number of products.
    """

    def __init__(self, folder: Path, *, mapped: bool = True) -> None:
        """Open ``folder``; with ``mapped`` the arrays are memory-mapped, otherwise they are read.

        Raises:
            UserError: a file is missing, damaged, or of another version of this code.
        """
        with _reading(folder):
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT_VERSION:
                raise ValueError(f"its format is {manifest['format']} instead of {FORMAT_VERSION}")
            self._open(folder, manifest, mapped)

    def _open(self, folder: Path, manifest: dict[str, Any], mapped: bool) -> None:
        def load(name: str) -> NDArray[Any]:
            array = np.load(folder / f"{name}.npy", mmap_mode="r" if mapped else None, allow_pickle=False)
            return np.asarray(array)  # a plain view of the mapping, which is faster to slice

        def table(name: str) -> _Rows:
            path = folder / f"{name}.bin"
            size = path.stat().st_size
            rows = np.memmap(path, np.uint8, "r") if mapped and size else np.fromfile(path, np.uint8)
            return _Rows(rows, load(f"{name}_starts"))

        # Keep this much freed memory in the process, because new pages cost a search more time than filling them. The
        # C library returns freed memory to the system above a threshold, and glibc raises that threshold to twice the
        # largest block that was ever freed.
        np.empty(_KEPT_BYTES, np.uint8)
        self.fingerprint = str(manifest["fingerprint"])
        self.num_products = int(manifest["products"])
        self._num_goals = {kind: int(manifest["goals"][kind]) for kind in GOAL_KINDS}
        self._products = table("products")
        self._asins, self._asin_positions, self._prices = load("asins"), load("asin_positions"), load("prices")
        self._postings = Postings(**{part.name: load(part.name) for part in fields(Postings)})
        groups = manifest["groups"]
        self._groups = {name: ({n: i for i, n in enumerate(groups[name])}, load(f"{name}_codes")) for name in groups}
        self._instructions = {kind: table(f"{kind}_wishes") for kind in GOAL_KINDS}
        self._goals = {
            kind: {name: load(f"{kind}_{name}") for name in ("products", "limits", "starts", "order")}
            for kind in GOAL_KINDS
        }

    def product(self, position: int) -> Product:
        """The product at a position of the catalog, from 0."""
        return Product.from_json(self._products[position])

    def position(self, asin: str) -> int | None:
        """Position of a product in the catalog; None for an unknown id."""
        wanted = asin.encode("utf-8", "surrogatepass")
        place = int(np.searchsorted(self._asins, np.bytes_(wanted)))
        return int(self._asin_positions[place]) if self._asins[place : place + 1] == [wanted] else None

    def price(self, position: int) -> float:
        """Price of a product in dollars; for a range, the price drawn when the shop was built."""
        return float(self._prices[position])

    def search(self, text: str, count: int = 50) -> list[int]:
        """Positions of the best matches, best first."""
        return [int(place) for place in self._postings.search(terms(text), count)[0]]

    def products_in_group(self, name: str, value: str) -> list[int]:
        """Positions of all products whose ``category`` or ``query`` (the ``name``) is ``value``."""
        numbers, codes = self._groups[name]
        return np.flatnonzero(codes == numbers[value]).tolist() if value in numbers else []

    def num_goals(self, kind: str) -> int:
        return self._num_goals[kind]

    def goal_category(self, kind: str, index: int) -> str:
        """The department of a goal's product."""
        names, codes = self._groups["category"]
        row, _ = self._place(kind, index)
        return str(list(names)[int(codes[self._goals[kind]["products"][row]])])

    def goal(self, kind: str, index: int) -> Goal:
        """A goal in WebShop's order. ``kind`` is ``synthetic`` or ``human``, ``index`` below `num_goals`."""
        row, combination = self._place(kind, index)
        arrays = self._goals[kind]
        instruction, attributes, plain = json.loads(self._instructions[kind][row])
        product = self.product(int(arrays["products"][row]))
        limit = float(arrays["limits"][row])
        options: tuple[tuple[str | None, str], ...]
        if plain is None:
            options = _combination(product, combination)
            instruction += " with " * bool(options) + ", and ".join(f"{name}: {value}" for name, value in options)
        else:
            options = tuple((None, value) for value in plain)
            instruction = instruction.strip(".")
        if limit < NO_LIMIT:
            instruction += f", and price lower than {limit:.2f} dollars"
        return Goal(instruction, product, tuple(attributes), options, limit)

    def _place(self, kind: str, index: int) -> tuple[int, int]:
        """The instruction of a goal, and the index of its combination of options."""
        arrays = self._goals[kind]
        number = int(arrays["order"][index])
        row = int(np.searchsorted(arrays["starts"], number, side="right")) - 1
        return row, number - int(arrays["starts"][row])


class _Rows:
    """Rows of bytes in one array."""

    def __init__(self, rows: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
        if len(starts) == 0 or int(starts[-1]) != len(rows):
            raise ValueError("a table is cut short")
        self._rows, self._starts = rows, starts

    def __getitem__(self, number: int) -> bytes:
        return self._rows[int(self._starts[number]) : int(self._starts[number + 1])].tobytes()


def _combination(product: Product, number: int) -> tuple[tuple[str, str], ...]:
    """The ``number``-th combination of option values, names sorted, the last name's values changing fastest."""
    chosen: list[tuple[str, str]] = []
    for name in sorted(product.options, reverse=True):
        number, place = divmod(number, len(product.options[name]))
        chosen.append((name, product.options[name][place]))
    return tuple(reversed(chosen))


_open_shops: dict[Path, Shop] = {}
"""Folder to open shop, shared by all environments of the process."""


def open_shop(
    folder: Path, fingerprint: str, listings: Callable[[], Iterable[Listing]], total: int | None = None
) -> Shop:
    """Open the shop in ``folder``; it is built first if it is missing or has another version.

    Raises:
        UserError: the folder cannot be written, or the shop in it is damaged.
    """

    def build() -> None:
        with atomic_write(folder, replace_folder=True) as new:
            new.mkdir()
            build_shop(new, listings(), fingerprint, total=total)

    if folder not in _open_shops or _open_shops[folder].fingerprint != fingerprint:
        try:
            build_once(folder, lambda: _is_current(folder, fingerprint), build)
        except OSError as error:
            raise UserError(
                f"the shop's index cannot be written to {folder.parent} ({error}); set index_dir to a folder that can"
            ) from error
        _open_shops[folder] = Shop(folder)
    return _open_shops[folder]


def _is_current(folder: Path, fingerprint: str) -> bool:
    """Whether there is a shop of this version of the code and this catalog."""
    with _reading(folder):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) if folder.exists() else {}
        return manifest != {} and (manifest["format"], manifest["fingerprint"]) == (FORMAT_VERSION, fingerprint)
    return False


def shop_in_memory(listings: Iterable[Listing], fingerprint: str) -> Shop:
    """Build a small shop in memory; nothing stays on disk."""
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        build_shop(Path(folder), listings, fingerprint, total=0)
        return Shop(Path(folder), mapped=False)
