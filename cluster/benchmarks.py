"""Measurements behind ``stillhouse bench``: each gives figures; here they get versions, hardware and the command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.provenance import hardware, versions
from cluster.schema_paths import close_to
from rollout.errors import UserError


def environments(data_dir: str | None, seconds: float) -> Mapping[str, Any]:
    """Steps and resets a second of the household engines."""
    from evaluation.bench_environments import bench_environments

    return bench_environments(data_dir, seconds)


BENCHES: Mapping[str, Callable[[str | None, float], Mapping[str, Any]]] = {"environments": environments}
"""By name; each takes a folder of official data (or None) and the seconds to spend; gives figures, ratios, seeds."""


def measure(name: str, *, command: Sequence[str], data_dir: str | None = None, seconds: float = 5.0) -> dict[str, Any]:
    """Run one benchmark.

    Returns:
        ``name``, ``command``, ``versions``, ``hardware``, ``seeds``, ``figures``, ``ratios``.

    Raises:
        UserError: there is no such benchmark, or it misses its data.
    """
    if name not in BENCHES:
        near = close_to(name, BENCHES)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"there is no benchmark {name}; {hint}choose one of {', '.join(BENCHES)}.")
    result = BENCHES[name](data_dir, seconds)
    return {"name": name, "command": shlex.join(command), "versions": versions(), "hardware": hardware(), **result}


def summary(result: Mapping[str, Any]) -> str:
    """Figures and ratios, one a line."""
    entries = [*result["figures"].items(), *result["ratios"].items()]
    width = max((len(name) for name, _ in entries), default=0)
    return "\n".join(f"{name:<{width}}  {value:>14,.1f}" for name, value in entries)
