"""How fast the driver plays the embedded worlds: their experts, through the whole way on Ray, without a model."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.provenance import cpu_cores
from rollout.environments.plugins import working_plugins
from rollout.trajectory.store import TrajectoryStore

ACTOR = b"ray::RolloutWorker"
SAMPLE_EVERY_S = 0.5
MIB = 2**20


def bench_worlds(episodes: int, address: str | None = None) -> Mapping[str, Any]:
    """Let each world's expert play ``episodes`` generated training tasks with the scripted engine.

    Args:
        address: of a Ray cluster; None starts one on this machine.

    Returns:
        ``figures``: by world episodes a second (the collecting alone, the cluster being up), episodes that are missing
        or ended in an error, share of successes, MiB of the stored episodes, and MiB that the largest worker had
        resident at its peak (0 without Ray).
    """
    figures: dict[str, float] = {"episodes_per_world": float(episodes)}
    for world in worlds():
        with tempfile.TemporaryDirectory(prefix="stillhouse-bench-") as folder, watched_workers() as peak:
            recipe = expert_recipe(world, episodes)
            with open_run(folder, recipe) as directory:
                report = run(recipe, directory, address=address)
            played = list(TrajectoryStore(directory.trajectories("teacher", 0)).summaries())
            stored = sum(file.stat().st_size for file in Path(folder).glob("trajectories/**/*.parquet"))
        figures |= {
            f"{world}_episodes_per_s": report["rollouts"]["episodes_per_second"],
            f"{world}_missing": float(episodes - len(played)),
            f"{world}_errors": float(report["rollouts"]["errors"]),
            f"{world}_success": fmean(episode.outcome.success for episode in played),
            f"{world}_stored_mib": stored / MIB,
            f"{world}_worker_peak_mib": max(peak.values(), default=0) / MIB,
        }
    return {"figures": figures, "ratios": {}, "seeds": [0]}


def worlds() -> list[str]:
    """The environments that have an expert."""
    return [name for name, plugin in working_plugins().items() if plugin.expert_policy]


def expert_recipe(world: str, episodes: int) -> Recipe:
    """Nothing but the expert, in as many workers as there are cores."""
    return Recipe.model_validate(
        {
            "name": f"bench-{world}",
            "environment": {"type": world},
            "agent": {"max_steps": 50, "max_tokens": 30000, "sampling": {"max_tokens": 512}},
            "teacher": {
                "engine": {"type": "scripted", "policy": "expert", "tokenizer": "builtin:household-tokenizer"},
                "workers": cpu_cores(),
                "concurrency": 16,
                "resources": {"cpus": 0.5},
            },
            "collect": {"teacher_episodes": episodes},
        }
    )


@contextmanager
def watched_workers() -> Iterator[dict[int, int]]:
    """Peak resident bytes of this machine's rollout workers by process id, kept up to date inside the block."""
    peak: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_EVERY_S):
            peak.update(worker_peaks())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def worker_peaks() -> dict[int, int]:
    """What each rollout worker that lives now has had resident at most, in bytes (Linux ``VmHWM``)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(ACTOR):
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                found[int(process.name)] = int(status["VmHWM"].split()[0]) * 1024
        except (OSError, KeyError):  # it has ended
            continue
    return found
