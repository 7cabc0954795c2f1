"""The driver stops a pool once, as soon as no later step needs it, and has the stores of its steps compacted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cluster.config.recipe import Recipe
from cluster.driver import PHASES, Driver
from cluster.run.directory import RunDirectory
from cluster.run.plan import make_plan
from cluster.run.progress import Screen
from cluster.run.steps.step import EpisodeStep
from cluster.runtime.backend import LocalBackend
from cluster.runtime.compaction import CompactionError
from cluster.runtime.rollout_pool import Pool
from rollout.trajectory import Outcome, Policy, StopReason, Trajectory
from rollout.trajectory.store import TrajectoryStore

OUTCOME = Outcome(1.0, True, StopReason.SUCCESS)


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


class DyingBackend(LocalBackend):
    """Its processes die while they compact."""

    async def compact(self, store: str) -> None:
        raise CompactionError("the process was killed")


def stored_in_parts(driver: Driver) -> EpisodeStep:
    """A step whose episodes are stored in one shard each."""
    step = driver.plan.episode_steps("evaluate")[0]
    for request in step.requests:
        TrajectoryStore(step.store).write([Trajectory(request.identity, Policy("m", 0, "react"), OUTCOME, ())])
    return step


async def test_the_store_of_a_step_that_is_found_complete_is_compacted_once_and_no_pool_starts(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    driver = driver_of(toy_recipe(), tmp_path)
    step = stored_in_parts(driver)
    keys = TrajectoryStore(step.store).keys()
    assert await driver.produce(step)
    (shard,) = Path(step.store).glob("*.parquet")
    assert TrajectoryStore(step.store).keys() == keys
    assert await driver.produce(step)
    assert list(Path(step.store).glob("*.parquet")) == [shard]
    assert not driver.pools


async def test_a_compaction_that_dies_is_one_sentence_and_the_run_goes_on(
    toy_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    driver = driver_of(toy_recipe(), tmp_path)
    driver.backend = DyingBackend()
    step = stored_in_parts(driver)
    assert await driver.produce(step)
    (note,) = driver.shown_notes
    assert "its files could not be merged (the process was killed); the same command tries it again" in note
