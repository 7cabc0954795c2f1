"""Benchmarks of ``stillhouse bench``, and the provenance that is added to their figures."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.bench.result import BenchResult
from cluster.run.provenance import hardware, versions
from rollout.errors import UserError
from rollout.messages import choose_one_of

_FEW = 100.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Options of the benchmarks.

    Attributes:
        data_dir: folder of official data; None uses the default folder or generated data.
        seconds: time to spend on each engine, for ``environments``.
        products: size of the large shop, for ``tools``.
        episodes: episodes of each environment, for ``worlds``.
        device: ``cpu`` or ``cuda``, for ``learner``.
        quick: tiny models and few samples, for ``learner``.
    """

    data_dir: str | None = None
    seconds: float = 5.0
    products: int = 1_000_000
    episodes: int = 1000
    device: str = "cpu"
    quick: bool = False


def environments(options: BenchOptions) -> BenchResult:
    """Steps and resets per second of the household engines."""
    from cluster.bench.environments import bench_environments

    return bench_environments(options.data_dir, options.seconds)


def tools(options: BenchOptions) -> BenchResult:
    """Times of the Python tool, WebShop and the HotpotQA search, and the number of contained sandbox attacks."""
    from cluster.bench.tools import bench_tools

    return bench_tools(options.data_dir, products=options.products)


def worlds(options: BenchOptions) -> BenchResult:
    """Episodes per second of each embedded environment's expert, with errors, memory and storage."""
    from cluster.bench.pipeline import bench_pipeline

    return bench_pipeline(options.episodes)


def learner(options: BenchOptions) -> BenchResult:
    """Time and memory of training steps against TRL and a bare training loop."""
    from cluster.bench.learner.run import bench_learner

    return bench_learner(options.device, quick=options.quick)


BENCHES: Mapping[str, Callable[[BenchOptions], BenchResult]] = {
    "environments": environments,
    "tools": tools,
    "worlds": worlds,
    "learner": learner,
}
"""Benchmarks by name; each returns figures, ratios and seeds."""


def measure(name: str, options: BenchOptions, *, command: Sequence[str]) -> dict[str, Any]:
    """Run one benchmark.

    Returns:
        ``name``, ``command``, ``versions``, ``hardware``, ``seeds``, ``figures``, ``ratios``, and more of some.

    Raises:
        UserError: if the benchmark does not exist, or its data is missing.
    """
    if name not in BENCHES:
        raise UserError(f"there is no benchmark {name}; {choose_one_of(name, BENCHES)}")
    result = BENCHES[name](options)
    return {"name": name, "command": shlex.join(command), "versions": versions(), "hardware": hardware(), **result}


def summary(result: Mapping[str, Any]) -> str:
    """Figures and ratios as text, one per line."""
    entries = [*result["figures"].items(), *result["ratios"].items()]
    width = max((len(name) for name, _ in entries), default=0)
    return "\n".join(f"{name:<{width}}  {_digits(value):>14}" for name, value in entries)


def _digits(value: float) -> str:
    """Format with three decimals below one hundred, otherwise with one."""
    return f"{value:,.1f}" if abs(value) >= _FEW or value == int(value) else f"{value:,.3f}"
