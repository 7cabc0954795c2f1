"""Episodes that end at different times share shards, and nobody is told about one before it is in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.errors import Cause, Failure
from rollout.trajectory import Trajectory, failed_episode, writer
from rollout.trajectory.store import TrajectoryStore
from rollout.trajectory.writer import SHARD_EPISODES, ShardWriter
from tests.rollout.trajectory.stores import episode, shards

OWED = failed_episode(episode("owed").identity, Failure("engine", "OSError", "no answer", Cause.ENGINE))
LONG_S = 3600.0


def tasks(folder: Path) -> set[str]:
    return {summary.key.task for summary in TrajectoryStore(folder).summaries()}


def episodes(count: int) -> list[Trajectory]:
    return [episode(f"task/{i}") for i in range(count)]


async def test_as_many_episodes_as_a_shard_holds_are_one_shard_though_others_are_in_progress(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    with shared.episode():
        await asyncio.gather(*map(shared.write, episodes(SHARD_EPISODES)))
    assert len(shards(tmp_path)) == 1
    assert len(TrajectoryStore(tmp_path).keys()) == SHARD_EPISODES


async def test_an_episode_is_in_the_store_when_its_write_returns_and_waits_for_others_until_then(
    tmp_path: Path,
) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    with shared.episode():
        first = asyncio.ensure_future(shared.write(episode("first")))
        await asyncio.sleep(2 * writer.IDLE_S)
        assert not first.done()
        assert not shards(tmp_path)
        await asyncio.gather(*map(shared.write, episodes(SHARD_EPISODES - 1)))
    assert first.done()
    assert len(shards(tmp_path)) == 1


async def test_an_episode_waits_for_others_no_longer_than_its_store_allows(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), 0.01)
    with shared.episode():
        await shared.write(episode())
    assert len(shards(tmp_path)) == 1


async def test_episodes_are_in_a_shard_by_key_in_whatever_order_they_end(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    await asyncio.gather(*map(shared.write, reversed(episodes(5))))
    assert [each.key.task for each in TrajectoryStore(tmp_path).read()] == [f"task/{i}" for i in range(5)]


async def test_the_last_episodes_do_not_wait(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    await asyncio.gather(*map(shared.write, episodes(3)))
    assert len(shards(tmp_path)) == 1


async def test_episodes_that_end_one_by_one_share_a_shard_while_the_next_one_begins_soon(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    waiting = []
    for each in episodes(SHARD_EPISODES):
        with shared.episode():
            await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(shared.write(each)))
    await asyncio.gather(*waiting)
    assert len(shards(tmp_path)) == 1


async def test_an_episode_with_many_tokens_does_not_wait_for_others(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    long = episode()
    segment = replace(long.segments[0], token_ids=(7,) * writer.SHARD_TOKENS)
    with shared.episode():
        await shared.write(replace(long, segments=(segment,)))
    assert len(shards(tmp_path)) == 1


async def test_an_owed_episode_is_reported_soon_after_those_that_ended_before_and_is_not_stored(
    tmp_path: Path,
) -> None:
    shared, order = ShardWriter(TrajectoryStore(tmp_path), LONG_S), list[str]()

    async def report(trajectory: Trajectory) -> None:
        await shared.write(trajectory)
        order.append(trajectory.key.task)

    with shared.episode():
        await asyncio.gather(report(episode("a")), report(OWED), report(episode("b")))
    assert order == ["a", "owed", "b"]
    assert tasks(tmp_path) == {"a", "b"}


async def test_a_storage_that_fails_is_an_error_of_each_episode_and_the_next_shard_is_tried(tmp_path: Path) -> None:
    class Failing(TrajectoryStore):
        fails = True

        def write(self, trajectories: Iterable[Trajectory]) -> None:
            if self.fails:
                raise OSError("the disk is gone")
            super().write(trajectories)

    store = Failing(tmp_path)
    shared = ShardWriter(store, LONG_S)
    results = await asyncio.gather(*map(shared.write, episodes(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["the disk is gone"] * 3
    store.fails = False
    await shared.write(episode("a"))
    assert len(store.keys()) == 1


async def test_flush_stores_what_has_ended_also_for_callers_that_are_gone(tmp_path: Path) -> None:
    shared = ShardWriter(TrajectoryStore(tmp_path), LONG_S)
    with shared.episode():
        gone, waiting = (asyncio.ensure_future(shared.write(episode(task))) for task in "ab")
        await asyncio.sleep(0)
        gone.cancel()
        await shared.flush()
        await waiting
    assert tasks(tmp_path) == {"a", "b"}
    with pytest.raises(asyncio.CancelledError):
        await gone
