"""Benchmark of the driver: its CPU time and memory for each episode, and how long it takes to resume.

Each measurement is a process of its own (`cluster.bench.driver_process`). Its episodes are made without an environment
or a model, so that the driver and not the worker sets the pace; all else is as in any run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from cluster.bench.result import BenchResult
from rollout.errors import UserError
from rollout.messages import first_line

SMALL = 1_000
TIMEOUT_S = 3600.0


def bench_driver(*, quick: bool = False, address: str | None = None) -> BenchResult:
    """Measure runs of 1,000 and of many episodes over Ray, and the start of a run with many stored ones.

    Args:
        quick: 10,000 episodes and 100,000 keys instead of 100,000 and 1,000,000.
        address: of a Ray cluster; None starts one on this machine.

    Returns:
        ``figures``: ``driver_ms_per_episode`` (CPU time of the driver from the first episode to the written report, of
        the larger run); ``rss_..._mib`` (resident memory of the driver, the largest that was measured, including the
        end); ``resume_s_..._keys`` (from an open plan to the first missing request, with the figures of the stored
        episodes). ``ratios``: ``rss_100k_vs_1k``, and ``cost_100k_vs_1k``, which is the CPU time of
        an episode in the last tenth of the larger run over that in its first tenth.
    """
    episodes, keys = (10_000, 100_000) if quick else (100_000, 1_000_000)
    small, large = (_measure("run", count, address) for count in (SMALL, episodes))
    resume = _measure("resume", keys, address)
    name, growth = f"{episodes // 1000}k", large["rss_mib"] / small["rss_mib"]
    return {
        "figures": {
            "driver_ms_per_episode": large["cpu_ms_per_episode"],
            "episodes_per_second": large["episodes_per_second"],
            "rss_1k_mib": small["rss_mib"],
            f"rss_{name}_mib": large["rss_mib"],
            f"resume_s_{'1m' if keys == 10**6 else f'{keys // 1000}k'}_keys": resume["seconds"],
            "resume_rss_mib": resume["rss_mib"],
        },
        "ratios": {
            f"rss_{name}_vs_1k": growth,
            f"cost_{name}_vs_1k": large["cost_growth"],
        },
        "seeds": [0],
    }


def _measure(kind: str, count: int, address: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="stillhouse-bench-") as folder:
        command = [sys.executable, "-m", "cluster.bench.driver_process", kind, str(count), folder, address or ""]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise UserError(f"the benchmark of {count:,} episodes failed: {first_line(RuntimeError(done.stderr[-2000:]))}")
    return {**json.loads(done.stdout.splitlines()[-1])}
