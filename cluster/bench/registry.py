"""Measurements behind ``stillhouse bench``: each gives figures; here they get versions, hardware and the command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.run.provenance import hardware, versions
from rollout.errors import UserError
from rollout.messages import choose_one_of

_FEW = 100.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a measurement may be told.

    Attributes:
        data_dir: folder of official data; None is generated data, or that in its usual place.
        seconds: to spend on each engine of ``environments``.
        products: of the large shop of ``tools``.
        episodes: of each world in ``worlds``.
    """

    data_dir: str | None = None
    seconds: float = 5.0
    products: int = 1_000_000
    episodes: int = 1000


def environments(options: BenchOptions) -> Mapping[str, Any]:
    """Steps and resets a second of the household engines."""
    from cluster.bench.environments import bench_environments

    return bench_environments(options.data_dir, options.seconds)


def tools(options: BenchOptions) -> Mapping[str, Any]:
    """Times of the Python tool, the shop and the encyclopaedia, and how many attacks the sandbox contains."""
    from cluster.bench.tools import bench_tools

    return bench_tools(options.data_dir, products=options.products)


def worlds(options: BenchOptions) -> Mapping[str, Any]:
    """Episodes a second of each embedded world's expert through the driver, and what they take."""
    from cluster.bench.pipeline import bench_worlds

    return bench_worlds(options.episodes)


BENCHES: Mapping[str, Callable[[BenchOptions], Mapping[str, Any]]] = {
    "environments": environments,
    "tools": tools,
    "worlds": worlds,
}
"""By name; each gives figures, ratios, seeds."""


def measure(name: str, options: BenchOptions, *, command: Sequence[str]) -> dict[str, Any]:
    """Run one benchmark.

    Returns:
        ``name``, ``command``, ``versions``, ``hardware``, ``seeds``, ``figures``, ``ratios``.

    Raises:
        UserError: there is no such benchmark, or it misses its data.
    """
    if name not in BENCHES:
        raise UserError(f"there is no benchmark {name}; {choose_one_of(name, BENCHES)}")
    result = BENCHES[name](options)
    return {"name": name, "command": shlex.join(command), "versions": versions(), "hardware": hardware(), **result}


def summary(result: Mapping[str, Any]) -> str:
    """Figures and ratios, one a line."""
    entries = [*result["figures"].items(), *result["ratios"].items()]
    width = max((len(name) for name, _ in entries), default=0)
    return "\n".join(f"{name:<{width}}  {_digits(value):>14}" for name, value in entries)


def _digits(value: float) -> str:
    """Times below a hundred milliseconds have digits that matter."""
    return f"{value:,.1f}" if abs(value) >= _FEW or value == int(value) else f"{value:,.3f}"
