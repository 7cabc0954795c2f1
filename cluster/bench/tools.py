"""How fast the tools and worlds answer, whether the sandbox holds, and what a large shop takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from rich.console import Console

from cluster.bench.hotpotqa import measure_search
from cluster.bench.webshop import large_shop, small_shop
from rollout.tools.sandbox.attacks import ATTACKS, measure_call_ms, run_attacks
from rollout.tools.sandbox.hostile import Attack

SEED = 0

Stage = Callable[[], dict[str, float]]


class ToolsResult(TypedDict):
    """``figures`` in the unit of their names; no ``ratios``."""

    figures: dict[str, float]
    ratios: dict[str, float]
    seeds: list[int]


def bench_tools(
    data_dir: str | None = None,
    *,
    products: int = 1_000_000,
    pages: int = 100_000,
    attacks: Sequence[Attack] = ATTACKS,
    repeats: int = 200,
    console: Console | None = None,
) -> ToolsResult:
    """Measure the Python tool, the shop and the encyclopaedia; some minutes with the default sizes.

    Times are medians on the clock, of one caller. All indexes are built in temporary folders, so a first search finds
    its pages in the file cache. What is being measured is written to ``console``, by default the standard error.

    Args:
        data_dir: folder of WebShop's official files for the small shop; None is 1,000 generated products.
        products: of the large shop, which is always generated.
        pages: of the encyclopaedia.
        attacks: on the sandbox.
        repeats: calls, searches and tasks behind each median.
        console: where progress is shown.

    Raises:
        UserError: ``data_dir`` does not hold the files, or no sandbox works here.
    """
    console = console or Console(stderr=True)
    with TemporaryDirectory(prefix="stillhouse-bench-") as name:
        folder = Path(name)
        stages: dict[str, Stage] = {
            f"calling Python {repeats} times": lambda: {"python_call_ms": measure_call_ms(calls=repeats)},
            f"{len(attacks)} attacks on the sandbox": lambda: _attacks(attacks),
            "shopping": lambda: small_shop(data_dir, folder / "small", SEED, repeats),
            f"building and searching an encyclopaedia of {pages:,} pages": lambda: {
                f"encyclopaedia_search_ms_{label(pages)}": measure_search(pages, repeats, SEED).search_ms
            },
            f"building and searching a shop of {products:,} products": lambda: {
                f"{key}_{label(products)}": value
                for key, value in large_shop(products, folder / "large", SEED, repeats).items()
            },
        }
        figures: dict[str, float] = {}
        for number, (title, stage) in enumerate(stages.items(), 1):
            with _shown(console, f"{number} of {len(stages)}: {title}"):
                figures |= stage()
    return ToolsResult(figures=figures, ratios={}, seeds=[SEED])


def label(number: int) -> str:
    """A size as figures' names carry it: 1m, 100k, 1234."""
    for size, letter in ((1_000_000, "m"), (1000, "k")):
        if number and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)


def _attacks(attacks: Sequence[Attack]) -> dict[str, float]:
    results = run_attacks(attacks=attacks)
    contained = sum(result.contained for result in results)
    return {"attacks_contained": float(contained), "attacks_total": float(len(results))}


@contextmanager
def _shown(console: Console, title: str) -> Iterator[None]:
    """A line at the start and one at the end: within, a bar may be drawn by what is measured."""
    console.print(f"{title} …", highlight=False)
    started_s = time.perf_counter()
    yield
    console.print(f"  {time.perf_counter() - started_s:.1f} s", highlight=False)
