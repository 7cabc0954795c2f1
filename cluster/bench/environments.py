"""Benchmark of the household engines: ours, and the original if it is installed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.bench.result import BenchResult
from rollout.environment import Environment, Task
from rollout.environments.household.alfworld_engine import (
    AlfworldConfig,
    AlfworldEnvironment,
    alfworld_tasks,
    installed,
)
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment, household_tasks
from rollout.errors import UserError

SEED = 0
NUM_TASKS = 200
MAX_STEPS = 50
"""Step limit of an episode, as usual in the literature."""


@dataclass(slots=True)
class _Timings:
    """Counts and times of random episodes in seconds; ``cpu`` times include the engine's child process."""

    episodes: int = 0
    steps: int = 0
    reset_s: float = 0.0
    step_s: float = 0.0
    list_s: float = 0.0
    reset_cpu_s: float = 0.0
    episode_cpu_s: float = 0.0

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}_steps_per_second": self.steps / (self.step_s + self.list_s),
            f"{name}_steps_per_second_without_list": self.steps / self.step_s,
            f"{name}_steps_per_cpu_second": self.steps / self.episode_cpu_s,
            f"{name}_resets_per_second": self.episodes / self.reset_s,
            f"{name}_resets_per_cpu_second": self.episodes / self.reset_cpu_s,
            f"{name}_steps": float(self.steps),
            f"{name}_episodes": float(self.episodes),
        }


def bench_environments(data_dir: str | None, seconds: float) -> BenchResult:
    """Run random admissible actions for about ``seconds`` per engine, in one process and thread.

    Uses the official games if they are in ``data_dir`` (or ALFWorld's default folder), otherwise generated houses. A
    step is one action and the list of admissible actions after it, which the original always computes;
    ``..._without_list`` excludes the list from our time. Ratios compare CPU time, which depends least on other load.

    Raises:
        UserError: if ``data_dir`` is given and does not contain the games.
    """
    config = _household(data_dir)
    tasks = household_tasks(config).tasks("train", NUM_TASKS, SEED)
    alfworld = _run_episodes(HouseholdEnvironment(config), tasks, seconds)
    result = BenchResult(figures=alfworld.figures("alfworld"), ratios={}, seeds=[SEED])
    if config.source == "official" and installed():
        # One child process for all episodes, so that its CPU time never decreases.
        original_config = AlfworldConfig(data_dir=data_dir, recycle_after_episodes=1_000_000)
        tasks = alfworld_tasks(original_config).tasks("train", NUM_TASKS, SEED)
        original = _run_episodes(AlfworldEnvironment(original_config), tasks, seconds)
        result["figures"] |= original.figures("original")
        result["ratios"] = _ratios(result["figures"])
    return result


def _ratios(figures: dict[str, float]) -> dict[str, float]:
    pairs = {"alfworld_vs_original": "steps_per_cpu_second", "alfworld_resets_vs_original": "resets_per_cpu_second"}
    return {name: figures[f"alfworld_{unit}"] / figures[f"original_{unit}"] for name, unit in pairs.items()}


def _household(data_dir: str | None) -> HouseholdConfig:
    official = HouseholdConfig(source="official", data_dir=data_dir)
    try:
        household_tasks(official).tasks("train", 1)
    except UserError:
        if data_dir is not None:
            raise
        return HouseholdConfig(source="generated")
    return official


def _run_episodes(environment: Environment, tasks: Sequence[Task], seconds: float) -> _Timings:
    """Run episodes of ``tasks`` in a cycle until the time is over; at least one complete episode."""
    timings, rng = _Timings(), random.Random(SEED)
    environment.reset(tasks[0])  # starts the child process and imports modules
    end_s = time.perf_counter() + seconds
    while timings.episodes == 0 or time.perf_counter() < end_s:
        started_s, started_cpu_s = time.perf_counter(), _cpu_s(environment)
        environment.reset(tasks[timings.episodes % len(tasks)])
        reset_s, reset_cpu_s = time.perf_counter(), _cpu_s(environment)
        _run_episode(environment, rng, timings)
        timings.reset_s += reset_s - started_s
        timings.reset_cpu_s += reset_cpu_s - started_cpu_s
        timings.episode_cpu_s += _cpu_s(environment) - reset_cpu_s
        timings.episodes += 1
    environment.close()
    return timings


def _cpu_s(environment: Environment) -> float:
    child_s = environment.child_cpu_s if isinstance(environment, AlfworldEnvironment) else 0.0
    return time.process_time() + child_s


def _run_episode(environment: Environment, rng: random.Random, timings: _Timings) -> None:
    actions = environment.admissible_actions() or ()
    for _ in range(MAX_STEPS):
        action = rng.choice(actions)
        started_s = time.perf_counter()
        step = environment.step(action)
        stepped_s = time.perf_counter()
        actions = environment.admissible_actions() or ()
        timings.step_s += stepped_s - started_s
        timings.list_s += time.perf_counter() - stepped_s
        timings.steps += 1
        if step.done:
            return
