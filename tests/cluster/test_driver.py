"""The driver stops a pool once, as soon as no later step needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cluster.config.recipe import Recipe
from cluster.driver import PHASES, Driver
from cluster.run.directory import RunDirectory
from cluster.run.plan import make_plan
from cluster.run.progress import Screen
from cluster.runtime.backend import LocalBackend
from cluster.runtime.rollout_pool import Pool


class SlowPool(Pool):
    """A pool without workers that takes some turns of the event loop to stop."""

    def __init__(self) -> None:
        self.stops = 0

    async def stop(self) -> None:
        self.stops += 1
        for _ in range(5):
            await asyncio.sleep(0)


async def no_pool() -> Pool:
    return SlowPool()


def driver_of(recipe: Recipe, folder: Path) -> Driver:
    directory = RunDirectory(folder)
    plan = make_plan(recipe, directory)
    return Driver(recipe, directory, LocalBackend(), plan, PHASES, Screen((folder / "screen.log").open("w")))


async def test_two_steps_that_end_at_the_same_time_stop_each_idle_pool_once(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    driver = driver_of(toy_recipe(), tmp_path)
    driver.has_output = {step.name: True for step in driver.plan.steps}
    pools = {"teacher": SlowPool(), "student": SlowPool()}
    driver.pools |= pools  # type: ignore[arg-type]
    driver.starting |= {role: asyncio.ensure_future(no_pool()) for role in pools}  # type: ignore[misc]
    await asyncio.gather(driver.release_pools(), driver.release_pools())
    assert [pool.stops for pool in pools.values()] == [1, 1]
    assert not driver.pools
    assert not driver.starting


async def test_a_pool_that_a_later_step_needs_is_kept(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    driver = driver_of(toy_recipe(), tmp_path)
    driver.has_output = {step.name: True for step in driver.plan.steps if step.name != "evaluate/student"}
    pools = {"teacher": SlowPool(), "student": SlowPool()}
    driver.pools |= pools  # type: ignore[arg-type]
    driver.starting |= {role: asyncio.ensure_future(no_pool()) for role in pools}  # type: ignore[misc]
    await driver.release_pools()
    assert set(driver.pools) == {"student"}
