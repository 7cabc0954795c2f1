"""Benchmark of the rollout pipeline: experts of the embedded environments on Ray, without a model."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from cluster.bench.result import BenchResult
from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.provenance import cpu_cores
from rollout.environments.plugins import working_plugins
from rollout.trajectory.store import TrajectoryStore

ACTOR = b"ray::RolloutWorker"
SAMPLE_EVERY_S = 0.5
MIB = 2**20


def bench_pipeline(episodes: int, address: str | None = None) -> BenchResult:
    """Run each environment's expert on ``episodes`` generated training tasks with the scripted engine.

    Args:
        address: address of a Ray cluster; None starts one on this machine.

    Returns:
        ``figures`` of each environment: episodes per second (collection only, without starting the cluster), missing
        episodes, episodes that ended in an error, success rate, MiB of the stored episodes, and peak resident MiB of
        the largest worker (0 without Ray).
    """
    figures: dict[str, float] = {"episodes_per_world": float(episodes)}
    for environment in environments_with_experts():
        with tempfile.TemporaryDirectory(prefix="stillhouse-bench-") as folder, watched_workers() as peak:
            recipe = expert_recipe(environment, episodes)
            with open_run(folder, recipe) as directory:
                report = run(recipe, directory, address=address)
            episodes_stored = list(TrajectoryStore(directory.trajectories("teacher", 0)).summaries())
            stored = sum(file.stat().st_size for file in Path(folder).glob("trajectories/**/*.parquet"))
        figures |= {
            f"{environment}_episodes_per_s": report["rollouts"]["episodes_per_second"],
            f"{environment}_missing": float(episodes - len(episodes_stored)),
            f"{environment}_errors": float(report["rollouts"]["errors"]),
            f"{environment}_success": fmean(episode.outcome.success for episode in episodes_stored),
            f"{environment}_stored_mib": stored / MIB,
            f"{environment}_worker_peak_mib": max(peak.values(), default=0) / MIB,
        }
    return {"figures": figures, "ratios": {}, "seeds": [0]}


def environments_with_experts() -> list[str]:
    """Names of the environments that have an expert policy."""
    return [name for name, plugin in working_plugins().items() if plugin.expert_policy]


def expert_recipe(environment: str, episodes: int) -> Recipe:
    """A recipe that only collects episodes of the expert, with one worker per core."""
    return Recipe.model_validate(
        {
            "name": f"bench-{environment}",
            "environment": {"type": environment},
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
    """Peak resident bytes of this machine's rollout workers by process id, updated until the block ends."""
    peak: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            peak.update(worker_peaks())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def worker_peaks() -> dict[int, int]:
    """Peak resident bytes of each running rollout worker by process id (Linux ``VmHWM``)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(ACTOR):
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                found[int(process.name)] = int(status["VmHWM"].split()[0]) * 1024
        except (OSError, KeyError):  # the process has ended
            continue
    return found
