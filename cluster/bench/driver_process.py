"""One measurement of `cluster.bench.driver`: ``python -m cluster.bench.driver_process run COUNT FOLDER ADDRESS``.

Prints its result as one line of JSON.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from cluster.bench.pipeline import MIB, expert_recipe
from cluster.config.recipe import Recipe
from cluster.driver import Driver
from cluster.run.attempts import Attempts
from cluster.run.directory import RunDirectory, open_run
from cluster.run.episodes import EpisodeRequest, EpisodeRequests, EpisodeSpec, WorkerContext
from cluster.run.phases import PHASES
from cluster.run.plan import Plan
from cluster.run.plan_file import write_plan
from cluster.run.progress import Screen
from cluster.run.steps.step import EpisodeStep
from cluster.run.stored import return_freed_memory
from cluster.run.write_report import write_run_report
from cluster.runtime.backend import LocalBackend, open_backend
from cluster.runtime.resources import resource_groups
from rollout.environment import Task
from rollout.trajectory import Author, Counts, Kind, Outcome, Policy, Segment, StopReason, Times, Trajectory
from rollout.trajectory.arrow import to_table
from rollout.trajectory.shard import encode
from rollout.trajectory.store import TrajectoryStore
from rollout.trajectory.writer import SHARD_EPISODES

EPISODE_S = 0.1
ATTEMPTS = 100
"""Episodes of each task in a run. A task takes about 450 bytes in the plan, whatever happens to its episodes."""
CONCURRENCY = 256
STORED_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class FixedSpec(EpisodeSpec):
    """Episodes that need no environment and no model."""

    async def run(self, request: EpisodeRequest, context: WorkerContext) -> Trajectory:
        started_s = time.time()
        await asyncio.sleep(EPISODE_S)
        return fixed_episode(request, started_s)

    @property
    def max_tokens(self) -> int:
        return 256


def fixed_episode(request: EpisodeRequest, started_s: float) -> Trajectory:
    """An episode of two turns."""
    segments = [
        Segment(kind, author, turn, "Go to the cabinet 1.", tuple(range(32)))
        for turn in (1, 2)
        for kind, author in ((Kind.ACT, Author.MODEL), (Kind.OBSERVATION, Author.ENVIRONMENT))
    ]
    outcome, counts = Outcome(1.0, True, StopReason.SUCCESS), Counts(2, 128, 64, 0, 0)
    return Trajectory(
        request.identity, Policy("none", 0, "act"), outcome, tuple(segments), counts, Times(started_s, EPISODE_S)
    )


class MeasuredDriver(Driver):
    """Notes its CPU time and memory as episodes come."""

    every: int
    count: int
    most_mib: float
    samples: list[tuple[int, float, float]]
    """Number of episodes, CPU seconds and time after each tenth."""

    def evaluate(self, step: EpisodeStep, summary: Trajectory) -> None:
        if not self.samples:
            self.samples.append((0, time.process_time(), time.monotonic()))
        super().evaluate(step, summary)
        self.count += 1
        if self.count % self.every == 0:
            self.samples.append((self.count, time.process_time(), time.monotonic()))
            self.most_mib = max(self.most_mib, rss_mib())

    def prepare(self, count: int) -> None:
        """Expect so many episodes."""
        self.every, self.count, self.most_mib = count // 10, 0, 0.0
        self.samples = []


def rss_mib() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def plan_of(recipe: Recipe, directory: RunDirectory, tasks: int, attempts: int) -> tuple[Plan, EpisodeStep]:
    """A plan of one collection."""
    store = directory.trajectories("teacher", 0)
    spec = FixedSpec(recipe.name, "teacher", 0, store, recipe.agent)
    made = tuple(Task(f"bench/{number:07d}", "household", "train", "look") for number in range(tasks))
    step = EpisodeStep(
        name="collect/teacher/0",
        title="teacher collects",
        phase="rollout",
        kind="collect",
        output="trajectories/teacher/round=000",
        acts_as="teacher",
        weight_version=0,
        spec=spec,
        requests=EpisodeRequests(spec, made, attempts),
    )
    return Plan(recipe.name, (step,)), step


def measure_run(count: int, folder: Path, address: str | None) -> dict[str, float]:
    """Execute a run of ``count`` episodes and report on it."""
    return_freed_memory()
    recipe = expert_recipe("household", count)
    teacher = recipe.teacher.model_copy(update={"workers": 1, "concurrency": CONCURRENCY})
    recipe = recipe.model_copy(update={"teacher": teacher})
    with open_run(folder / "run", recipe) as directory:
        plan, step = plan_of(recipe, directory, count // ATTEMPTS, ATTEMPTS)
        write_plan(plan, directory)
        groups = resource_groups(plan, recipe, PHASES)
        backend = open_backend(address, directory.logs, groups, recipe.failures)
        driver = MeasuredDriver(recipe, directory, backend, plan, PHASES, Screen(io.StringIO()))
        driver.prepare(count)
        try:
            asyncio.run(driver.drive())
            write_run_report(directory)
            end_cpu_s, rss = time.process_time(), max(driver.most_mib, rss_mib())
        finally:
            backend.close()
        missing = step.num_missing(directory)
    assert not missing, f"{missing} episodes are missing"
    samples = driver.samples
    costs = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(samples)]
    return {
        "cpu_ms_per_episode": 1e3 * (end_cpu_s - samples[0][1]) / count,
        "cost_growth": costs[-1] / costs[0],
        "episodes_per_second": count / (samples[-1][2] - samples[0][2]),
        "rss_mib": rss,
    }


def measure_resume(count: int, folder: Path) -> dict[str, float]:
    """Open a store of ``count`` episodes of which the last ones are in no manifest, and find the first missing one."""
    recipe = expert_recipe("household", 1)
    with open_run(folder / "run", recipe) as directory:
        plan, step = plan_of(recipe, directory, count + 1, 1)
        fill(step, count)
        driver = Driver(recipe, directory, LocalBackend(), plan, PHASES, Screen(io.StringIO()))
        started_s = time.perf_counter()
        first = asyncio.run(first_missing(driver, step))
        seconds = time.perf_counter() - started_s
    assert first == step.requests[count], "the last request is missing"
    return {"seconds": seconds, "rss_mib": rss_mib()}


async def first_missing(driver: Driver, step: EpisodeStep) -> EpisodeRequest:
    """All that the driver does with stored episodes before it sends the first request."""
    assert not step.is_complete(driver)
    completed = await driver.restore(step)
    driver.evaluator.snapshot()
    attempts = Attempts(step, completed, driver.directory, driver.recipe.failures.episode)
    return next(iter(attempts.missing()))


def fill(step: EpisodeStep, count: int) -> None:
    """Store the first episodes: nearly all in compact shards, the last ones as workers write them."""
    store = TrajectoryStore(step.store)
    new = min(count // 10, 2**14)
    for start in range(0, count - new, STORED_ROWS):
        write(step, start, min(start + STORED_ROWS, count - new))
    store.compact()
    for start in range(count - new, count, SHARD_EPISODES):
        write(step, start, min(start + SHARD_EPISODES, count))


def write(step: EpisodeStep, start: int, stop: int) -> None:
    """Write one shard of equal episodes of the tasks from ``start`` up to ``stop``."""
    table = to_table([fixed_episode(step.requests[start], 1e9)])
    rows = table.take(pa.array([0] * (stop - start)))
    tasks = pa.array([task.id for task in step.requests.tasks[start:stop]])
    rows = rows.set_column(rows.schema.get_field_index("task"), rows.schema.field("task"), tasks)
    path = Path(step.store) / f"{start:020d}-{stop}.parquet"
    path.write_bytes(encode([rows]).to_pybytes())


def main(kind: str, count: str, folder: str, address: str) -> None:
    """Measure, and print the result."""
    if kind == "run":
        result = measure_run(int(count), Path(folder), address or None)
    else:
        result = measure_resume(int(count), Path(folder))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
