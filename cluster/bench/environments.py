"""How fast the household engines play: ours, and the original where it is installed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from rollout.environment import Environment, Task
from rollout.environments.household.alfworld_engine import (
    OriginalConfig,
    OriginalEnvironment,
    installed,
    original_tasks,
)
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment, household_tasks
from rollout.errors import UserError

SEED = 0
NUM_TASKS = 200
MAX_STEPS = 50
"""Of one episode, as usual in the literature."""


class BenchResult(TypedDict):
    """``figures`` in the unit of their names; ``ratios`` in CPU time, empty where the original did not run."""

    figures: dict[str, float]
    ratios: dict[str, float]
    seeds: list[int]


@dataclass(slots=True)
class _Clock:
    """Counts of random play and its times in seconds; ``cpu`` is the time of all processes, ours and a child's."""

    episodes: int = 0
    steps: int = 0
    reset_s: float = 0.0
    step_s: float = 0.0
    list_s: float = 0.0
    reset_cpu_s: float = 0.0
    play_cpu_s: float = 0.0

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}_steps_per_second": self.steps / (self.step_s + self.list_s),
            f"{name}_steps_per_second_without_list": self.steps / self.step_s,
            f"{name}_steps_per_cpu_second": self.steps / self.play_cpu_s,
            f"{name}_resets_per_second": self.episodes / self.reset_s,
            f"{name}_resets_per_cpu_second": self.episodes / self.reset_cpu_s,
            f"{name}_steps": float(self.steps),
            f"{name}_episodes": float(self.episodes),
        }


def bench_environments(data_dir: str | None, seconds: float) -> BenchResult:
    """Random admissible play for about ``seconds`` per engine, in one process and thread.

    On the official games if ``data_dir`` (or ALFWorld's default folder) holds them, else on generated houses. A step is
    one action and the list of admissible actions after it, which the original always makes; ``..._without_list`` leaves
    the making of the list out of our time. Ratios compare CPU time, which other work on the machine disturbs least.

    Raises:
        UserError: ``data_dir`` was given and does not hold the games.
    """
    config = _household(data_dir)
    tasks = household_tasks(config).tasks("train", NUM_TASKS, SEED)
    alfworld = _play(HouseholdEnvironment(config), tasks, seconds)
    result = BenchResult(figures=alfworld.figures("alfworld"), ratios={}, seeds=[SEED])
    if config.source == "official" and installed():
        # One child throughout, so that its CPU clock only ever rises.
        original_config = OriginalConfig(data_dir=data_dir, recycle_after_episodes=1_000_000)
        tasks = original_tasks(original_config).tasks("train", NUM_TASKS, SEED)
        original = _play(OriginalEnvironment(original_config), tasks, seconds)
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


def _play(environment: Environment, tasks: Sequence[Task], seconds: float) -> _Clock:
    """Play ``tasks`` in turn, again from the first if time is left; at least one whole episode."""
    clock, rng = _Clock(), random.Random(SEED)
    environment.reset(tasks[0])  # starts the child, loads modules
    end_s = time.perf_counter() + seconds
    while clock.episodes == 0 or time.perf_counter() < end_s:
        started_s, started_cpu_s = time.perf_counter(), _cpu_s(environment)
        environment.reset(tasks[clock.episodes % len(tasks)])
        reset_s, reset_cpu_s = time.perf_counter(), _cpu_s(environment)
        _episode(environment, rng, clock)
        clock.reset_s += reset_s - started_s
        clock.reset_cpu_s += reset_cpu_s - started_cpu_s
        clock.play_cpu_s += _cpu_s(environment) - reset_cpu_s
        clock.episodes += 1
    environment.close()
    return clock


def _cpu_s(environment: Environment) -> float:
    child_s = environment.child_cpu_s if isinstance(environment, OriginalEnvironment) else 0.0
    return time.process_time() + child_s


def _episode(environment: Environment, rng: random.Random, clock: _Clock) -> None:
    actions = environment.admissible_actions() or ()
    for _ in range(MAX_STEPS):
        action = rng.choice(actions)
        started_s = time.perf_counter()
        step = environment.step(action)
        stepped_s = time.perf_counter()
        actions = environment.admissible_actions() or ()
        clock.step_s += stepped_s - started_s
        clock.list_s += time.perf_counter() - stepped_s
        clock.steps += 1
        if step.done:
            return
