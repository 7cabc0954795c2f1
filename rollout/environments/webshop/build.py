"""Builds the folder of a shop from a stream of products; memory holds only a few numbers per product.

Postings are collected block by block, written as sorted runs, and merged at the end in one pass over the runs. The
merge renumbers the products: those with the same query, and among them those of the same length, become adjacent, so
that a search can skip whole blocks.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from rollout.environments.webshop.catalog import Instruction, Listing
from rollout.environments.webshop.product import Product
from rollout.environments.webshop.search import bm25
from rollout.environments.webshop.search.analysis import Vocabulary

FORMAT_VERSION = 2
"""Incremented whenever the layout or the meaning of a file changes."""

GOAL_KINDS = ("synthetic", "human")
_SHUFFLE_SEED = 233
_PRICE_STEPS = [10.0 * step for step in range(1, 100)]
NO_LIMIT = 1_000_000.0
_POSTINGS_A_PRODUCT = 100
"""Approximate number of postings per product; determines how many are sorted at once."""


def build_shop(
    folder: Path,
    listings: Iterable[Listing],
    fingerprint: str,
    *,
    seed: int = 0,
    total: int | None = None,
    block: int = 20_000,
) -> None:
    """Write all files of a shop into ``folder``, which must be empty.

    Args:
        folder: output folder.
        listings: the products with their instructions.
        fingerprint: fingerprint of the source, stored in the manifest.
        seed: seed of the prices drawn from ranges and of the price limits of goals; 0 reproduces WebShop's.
        total: number of products if known; a progress bar is shown for more than one block.
        block: number of products whose postings are sorted at once.
    """
    if total is None or total > block:
        listings = track(listings, "building the shop", total, console=Console(stderr=True))
    with TemporaryDirectory(dir=folder, prefix="runs-") as runs:
        builder = _Builder(folder, Path(runs), seed, block)
        for listing in listings:
            builder.add(listing)
        builder.finish(fingerprint)


class _Table:
    """Rows of bytes, written sequentially, and their start offsets."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = (folder / f"{name}.bin").open("wb")
        self._starts = folder / f"{name}_starts.npy"
        self.starts = array("q", [0])

    def add(self, row: bytes) -> None:
        self._file.write(row)
        self.starts.append(self.starts[-1] + len(row))

    def close(self) -> None:
        self._file.close()
        np.save(self._starts, np.asarray(self.starts, np.int64))


class _Builder:
    def __init__(self, folder: Path, runs: Path, seed: int, block: int) -> None:
        self._folder, self._runs, self._block = folder, runs, block
        self._random = random.Random(seed)
        self._vocabulary = Vocabulary()
        self._products = _Table(folder, "products")
        self._instructions = {kind: _Table(folder, f"{kind}_wishes") for kind in GOAL_KINDS}
        # Products and numbers of goals of the instructions.
        self._instruction_products = {kind: (array("i"), array("q")) for kind in GOAL_KINDS}
        self._asins: list[bytes] = []
        self._prices = array("d")
        self._groups: dict[str, tuple[dict[str, int], array[int]]] = {
            name: ({}, array("i")) for name in ("category", "query")
        }
        self._lengths = array("i")
        self._block_terms, self._block_start = array("i"), 0
        self._num_runs = 0

    def add(self, listing: Listing) -> None:
        product, position = listing.product, len(self._asins)
        self._products.add(product.to_json())
        self._asins.append(product.asin.encode("utf-8", "surrogatepass"))
        ends = product.prices
        self._prices.append(ends[0] if len(ends) == 1 else self._random.uniform(*ends[:2]))
        for name, (numbers, codes) in self._groups.items():
            codes.append(numbers.setdefault(getattr(product, name), len(numbers)))
        terms = self._vocabulary.encode(product.searchable())
        self._lengths.append(len(terms))
        self._block_terms.extend(terms)
        if listing.synthetic is not None:
            self._add_instruction("synthetic", position, product, listing.synthetic)
        for instruction in listing.human:
            self._add_instruction("human", position, product, instruction)
        if position + 1 - self._block_start == self._block:
            self._flush()

    def _add_instruction(self, kind: str, position: int, product: Product, instruction: Instruction) -> None:
        row = [instruction.text, instruction.attributes, instruction.options]
        self._instructions[kind].add(json.dumps(row).encode())
        products, counts = self._instruction_products[kind]
        products.append(position)
        combinations = prod(len(values) for values in product.options.values())
        counts.append(1 if instruction.options is not None else combinations)

    def _flush(self) -> None:
        """Write the postings of the last products as a run, sorted by term and then by document."""
        start, self._block_start = self._block_start, len(self._asins)
        lengths = np.asarray(self._lengths[start:], np.int64)
        terms = np.asarray(self._block_terms, np.int64)
        local = np.repeat(np.arange(len(lengths)), lengths)
        keys, counts = np.unique(terms * self._block + local, return_counts=True)
        run = self._runs / str(self._num_runs)
        np.save(f"{run}-terms.npy", (keys // self._block).astype(np.int32))
        np.save(f"{run}-documents.npy", (keys % self._block + start).astype(np.int32))
        np.save(f"{run}-counts.npy", np.minimum(counts, 65535).astype(np.uint16))
        self._block_terms, self._num_runs = array("i"), self._num_runs + 1

    def finish(self, fingerprint: str) -> None:
        """Write the files that depend on all products."""
        if self._block_start < len(self._asins):
            self._flush()
        self._products.close()
        self._write_postings(self._write_ids())
        state = self._random.getstate()
        goals = {}
        for kind in GOAL_KINDS:  # both kinds draw from the same state, as if each were the only one
            self._random.setstate(state)
            goals[kind] = self._write_goals(kind)
        manifest = {
            "format": FORMAT_VERSION,
            "fingerprint": fingerprint,
            "products": len(self._asins),
            "goals": goals,
            "groups": {name: list(numbers) for name, (numbers, _) in self._groups.items()},
        }
        (self._folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    def _write_ids(self) -> NDArray[np.int32]:
        """Write the ids and return the rank of each product's id."""
        asins = np.array(self._asins, dtype="S")
        order = np.argsort(asins, kind="stable").astype(np.int32)
        self._save("asins", asins[order])
        self._save("asin_positions", order)
        self._save("prices", np.asarray(self._prices, np.float64))
        for name, (_, codes) in self._groups.items():
            self._save(f"{name}_codes", np.asarray(codes, np.int32))
        return np.argsort(order).astype(np.int32)

    def _write_postings(self, ranks: NDArray[np.int32]) -> None:
        lengths = np.asarray(self._lengths, np.int64)
        codes = bm25.length_codes(lengths)
        numbers = self._renumber(codes, ranks)
        norms = bm25.length_norms(float(lengths.mean()) if lengths.any() else 1.0)[codes]
        keys = np.array([bm25.term_key(term) for term in self._vocabulary.numbers], np.uint64)
        order = np.argsort(keys)
        places = np.argsort(order)  # position of each term in the sorted keys
        frequencies = np.zeros(len(keys), np.int64)
        for run in range(self._num_runs):
            frequencies += np.bincount(places[self._run(run, "terms")], minlength=len(keys))
        starts = np.concatenate([[0], np.cumsum(frequencies)])
        shape = (int(starts[-1]),)
        documents: NDArray[np.int32] = self._create("documents", np.int32, shape)
        factors: NDArray[np.float32] = self._create("factors", np.float32, shape)
        filled = starts[:-1].copy()
        for run in range(self._num_runs):
            run_terms, run_documents = places[self._run(run, "terms")], self._run(run, "documents")
            first = np.flatnonzero(np.diff(run_terms, prepend=-1))
            sizes = np.diff(np.append(first, len(run_terms)))
            targets = filled[run_terms] + np.arange(len(run_terms)) - np.repeat(first, sizes)
            documents[targets] = numbers[run_documents]
            factors[targets] = bm25.saturation(self._run(run, "counts"), norms[run_documents])
            filled[run_terms[first]] += sizes
        _sort_lists(starts, documents, factors, self._block * _POSTINGS_A_PRODUCT)
        self._save("keys", keys[order])
        self._save("starts", starts)
        self._save("tops", np.maximum.reduceat(factors, starts[:-1]) if shape[0] else np.zeros(0, np.float32))
        self._write_blocks(starts, documents, factors)

    def _renumber(self, length_codes: NDArray[np.uint8], ranks: NDArray[np.int32]) -> NDArray[np.int32]:
        """Numbers of the products in the postings; similar products get adjacent numbers."""
        _, queries = self._groups["query"]
        order = np.lexsort((ranks, length_codes, np.asarray(queries, np.int32)))
        self._save("places", order.astype(np.int32))
        self._save("ranks", ranks[order])
        return np.argsort(order).astype(np.int32)

    def _write_blocks(
        self, starts: NDArray[np.int64], documents: NDArray[np.int32], factors: NDArray[np.float32]
    ) -> None:
        long = np.flatnonzero(bm25.is_long(np.diff(starts), len(self._asins)))
        rows = np.full(len(starts) - 1, -1, np.int32)
        rows[long] = np.arange(len(long), dtype=np.int32)
        blocks = bm25.num_blocks(len(self._asins))
        block_tops = self._create("block_tops", np.uint8, (len(long), blocks))
        block_starts = self._create("block_starts", np.int32, (len(long), blocks + 1))
        for row, term in enumerate(long):
            span = slice(starts[term], starts[term + 1])
            block_tops[row], block_starts[row] = bm25.block_row(documents[span], factors[span], len(self._asins))
        self._save("rows", rows)

    def _run(self, number: int, name: str) -> NDArray[Any]:
        return np.asarray(np.load(self._runs / f"{number}-{name}.npy"))

    def _write_goals(self, kind: str) -> int:
        """Draw a price limit for each instruction, then the order of all goals. Returns the number of goals."""
        self._instructions[kind].close()
        products, counts = self._instruction_products[kind]
        limits = array("d", (self._limit(self._prices[product]) for product in products))
        starts = np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])
        order = array("q", range(int(starts[-1])))
        random.Random(_SHUFFLE_SEED).shuffle(order)
        self._save(f"{kind}_products", np.asarray(products, np.int32))
        self._save(f"{kind}_limits", np.asarray(limits, np.float64))
        self._save(f"{kind}_starts", starts)
        self._save(f"{kind}_order", np.asarray(order, np.int64))
        return len(order)

    def _limit(self, price: float) -> float:
        above = [step for step in _PRICE_STEPS if step > price][:4]
        return max(self._random.sample(above, 2)) if len(above) >= 2 else NO_LIMIT

    def _create(self, name: str, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        """Create an uninitialized array on disk."""
        array: NDArray[Any] = np.lib.format.open_memmap(self._folder / f"{name}.npy", "w+", kind, shape)  # type: ignore[no-untyped-call]
        return array

    def _save(self, name: str, values: NDArray[Any]) -> None:
        np.save(self._folder / f"{name}.npy", values)


def _sort_lists(
    starts: NDArray[np.int64], documents: NDArray[np.int32], factors: NDArray[np.float32], at_once: int
) -> None:
    """Sort each list by document, in place; ``at_once`` is the number of postings sorted together."""
    first = 0
    while first < len(starts) - 1:
        fitting = int(np.searchsorted(starts, starts[first] + at_once, side="right")) - 1
        last = max(fitting, first + 1)
        span = slice(starts[first], starts[last])
        terms = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))
        order = np.argsort(terms << 32 | documents[span])
        documents[span], factors[span] = documents[span][order], factors[span][order]
        first = last
