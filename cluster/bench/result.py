"""The result of a benchmark, and a timer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict


class BenchResult(TypedDict):
    """``figures`` have the unit in their names; ``ratios`` compare engines, empty if there is one only."""

    figures: dict[str, float]
    ratios: dict[str, float]
    seeds: list[int]


def call_ms(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    started_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started_s)
