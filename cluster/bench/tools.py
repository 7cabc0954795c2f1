"""Benchmark of the Python tool, the sandbox's isolation, WebShop and the HotpotQA search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from cluster.bench.hotpotqa import measure_search_ms
from cluster.bench.result import BenchResult
from cluster.bench.webshop import large_shop, small_shop
from rollout.tools.sandbox.attacks import ATTACKS, measure_call_ms, run_attacks
from rollout.tools.sandbox.hostile import Attack

SEED = 0
_UNITS = ((1_000_000, "m"), (1000, "k"))

Measurement = Callable[[], dict[str, float]]


def bench_tools(
    data_dir: str | None = None,
    *,
    products: int = 1_000_000,
    pages: int = 100_000,
    attacks: Sequence[Attack] = ATTACKS,
    repeats: int = 200,
    console: Console | None = None,
) -> BenchResult:
    """Measure the Python tool, WebShop and the HotpotQA search; runs for some minutes with the default sizes.

    Times are medians of the wall clock with one caller. All indexes are built in temporary folders, so the first search
    finds its pages in the file cache. Progress is written to ``console``, by default the standard error.

    Args:
        data_dir: folder of WebShop's official files for the small shop; None uses 1,000 generated products.
        products: size of the large shop, which is always generated.
        pages: number of generated HotpotQA pages.
        attacks: attacks on the sandbox.
        repeats: number of calls, searches and tasks of each median.
        console: console for progress.

    Raises:
        UserError: if ``data_dir`` does not contain the files, or no sandbox works on this machine.
    """
    console = console or Console(stderr=True)
    with TemporaryDirectory(prefix="stillhouse-bench-") as name:
        folder = Path(name)
        measurements: dict[str, Measurement] = {
            f"calling Python {repeats} times": lambda: {"python_call_ms": measure_call_ms(calls=repeats)},
            f"{len(attacks)} attacks on the sandbox": lambda: _attacks(attacks),
            "using a small shop": lambda: small_shop(data_dir, folder / "small", SEED, repeats),
            f"building and searching an index of {pages:,} pages": lambda: {
                f"encyclopaedia_search_ms_{label(pages)}": measure_search_ms(pages, repeats, SEED)
            },
            f"building and searching a shop of {products:,} products": lambda: {
                f"{key}_{label(products)}": value
                for key, value in large_shop(products, folder / "large", SEED, repeats).items()
            },
        }
        figures: dict[str, float] = {}
        for number, (title, measurement) in enumerate(measurements.items(), 1):
            with _progress(console, f"{number} of {len(measurements)}: {title}"):
                figures |= measurement()
    return BenchResult(figures=figures, ratios={}, seeds=[SEED])


def label(number: int) -> str:
    """A size as in the names of figures: 1m, 100k, 1234."""
    names = (f"{number // size}{letter}" for size, letter in _UNITS if number and number % size == 0)
    return next(names, str(number))


def _attacks(attacks: Sequence[Attack]) -> dict[str, float]:
    contained = [result.contained for result in run_attacks(attacks=attacks)]
    return {"attacks_contained": float(sum(contained)), "attacks_total": float(len(contained))}


@contextmanager
def _progress(console: Console, title: str) -> Iterator[None]:
    """Print a line before and after a measurement, which may draw its own progress bar."""
    console.print(f"{title} …", highlight=False)
    started_s = time.perf_counter()
    yield
    console.print(f"  {time.perf_counter() - started_s:.1f} s", highlight=False)
