"""A pool plays every request once, keeps all its workers busy, and makes good for a worker that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, RolloutUpdate
from cluster.runtime.worker import PoolError, WorkerDied
from rollout.errors import EngineDied, UserError
from tests.cluster.runtime.toy_workers import (
    COLLECT,
    EVALUATE,
    ToyWorker,
    play,
    pool_of,
    requests,
    rolled_out,
    summary,
    tasks,
)
from tests.waiting import wait_in_loop


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 40),
    turns=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    lifetimes=st.lists(st.none() | st.integers(0, 10), min_size=4, max_size=4),
    concurrency=st.integers(1, 9),
)
def test_every_request_comes_out_once_whatever_the_workers_speed_and_deaths(
    count: int, turns: list[int], lifetimes: list[int | None], concurrency: int
) -> None:
    workers = [ToyWorker(t, lifetime) for t, lifetime in zip(turns, lifetimes, strict=False)]
    wanted = requests(count)
    played = asyncio.run(play(pool_of(*workers, concurrency=concurrency), wanted))
    assert tasks(played) == sorted(request.task.id for request in wanted)


async def test_a_worker_never_holds_more_than_it_can_play_at_once() -> None:
    workers = [ToyWorker(), ToyWorker(turns=3)]
    await play(pool_of(*workers, concurrency=8), requests(100))
    assert [worker.most for worker in workers] == [8, 8]


async def test_a_slow_worker_does_not_keep_the_others_from_working() -> None:
    fast, slow = ToyWorker(turns=1), ToyWorker(turns=20)
    await play(pool_of(fast, slow, concurrency=2), requests(60))
    assert fast.played > 4 * slow.played > 0


async def test_the_last_episodes_are_shared_among_the_workers() -> None:
    workers = [ToyWorker(), ToyWorker(), ToyWorker()]
    await play(pool_of(*workers, concurrency=64), requests(6))
    assert [worker.played for worker in workers] == [2, 2, 2]


async def test_two_steps_share_a_pool_and_each_gets_its_own_episodes() -> None:
    worker = ToyWorker()
    pool = pool_of(worker, concurrency=16)
    await pool.start()
    collected, evaluated = await asyncio.gather(
        rolled_out(pool, requests(5, COLLECT)), rolled_out(pool, requests(7, EVALUATE), priority=1)
    )
    assert (len(collected), len(evaluated)) == (5, 7)
    assert all(len(stores) == 1 for stores in worker.stores)


async def test_requests_of_an_earlier_step_go_first() -> None:
    worker = ToyWorker()
    pool = pool_of(worker, concurrency=2)
    await pool.start()
    later = asyncio.ensure_future(rolled_out(pool, requests(20, EVALUATE), priority=1))
    await asyncio.sleep(0)
    await rolled_out(pool, requests(20, COLLECT), priority=0)
    assert not later.done()
    assert len(await later) == 20


async def test_an_error_in_one_step_does_not_reach_another() -> None:
    class Picky(ToyWorker):
        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
            if requests[0].spec is COLLECT:
                raise KeyError("not these")
            async for summaries in super().rollout(requests):
                yield summaries

    pool = pool_of(Picky(), concurrency=4)
    await pool.start()
    failing = asyncio.ensure_future(rolled_out(pool, requests(6, COLLECT)))
    assert len(await rolled_out(pool, requests(9, EVALUATE), priority=1)) == 9
    with pytest.raises(KeyError):
        await failing


async def test_who_stops_listening_gives_up_the_rest() -> None:
    worker = ToyWorker()
    pool = pool_of(worker, concurrency=2)
    await pool.start()
    async with aclosing(pool.rollout(requests(50))) as summaries:
        await anext(summaries)
    assert len(await rolled_out(pool, requests(3, EVALUATE))) == 3
    assert worker.played < 50


async def test_a_worker_in_the_place_of_a_dead_one_gets_the_newest_weights() -> None:
    pool = pool_of(ToyWorker(lifetime=3), concurrency=2)
    await pool.start()
    await pool.load_weights("checkpoints/round=000", 1)
    played = await rolled_out(pool, requests(8))
    assert len(played) == 8
    assert {summary.policy.weight_version for summary in played} == {1}


@pytest.mark.parametrize(
    ("restarts", "spent"),
    [
        (None, "died 4 times, and failures.teacher.max_restarts is 3;"),
        (WorkerPolicy(max_restarts=2), "died 3 times, and failures.teacher.max_restarts is 2;"),
        (WorkerPolicy(max_restarts=0), "died once, and failures.teacher.max_restarts is 0;"),
    ],
)
async def test_a_worker_that_keeps_dying_is_restarted_as_often_as_the_policy_says(
    restarts: WorkerPolicy | None, spent: str
) -> None:
    made: list[ToyWorker] = []

    def mortal() -> ToyWorker:
        made.append(ToyWorker(lifetime=0))
        return made[-1]

    with pytest.raises(PoolError, match=f"teacher pool {spent} finished episodes are kept"):
        await play(pool_of(ToyWorker(lifetime=0), then=mortal, restarts=restarts), requests(3))
    assert len(made) == (restarts or WorkerPolicy()).max_restarts


async def test_without_a_limit_a_worker_is_restarted_until_all_is_played() -> None:
    pool = pool_of(ToyWorker(lifetime=1), then=lambda: ToyWorker(lifetime=1), restarts=WorkerPolicy(max_restarts=-1))
    assert len(await play(pool, requests(9))) == 9


async def test_a_worker_whose_engine_died_is_stopped_and_replaced_and_its_episodes_are_requested_again() -> None:
    dying = ToyWorker(lifetime=3, error=EngineDied)
    played = await play(pool_of(dying, concurrency=2), requests(8))
    assert tasks(played) == tasks([summary(request, 0) for request in requests(8)])
    assert dying.stopped


@pytest.mark.parametrize("death", [WorkerDied, EngineDied])
async def test_a_worker_that_dies_while_the_pool_starts_is_one_sentence(death: type[Exception]) -> None:
    class Stillborn(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            raise death("the process is gone")

    with pytest.raises(PoolError, match=r"teacher pool died 4 times, and .*max_restarts is 3; .*the process is gone"):
        await pool_of(Stillborn(), then=Stillborn).start()


async def test_an_engine_that_keeps_dying_ends_the_pool_with_its_message() -> None:
    pool = pool_of(
        ToyWorker(lifetime=0, error=EngineDied),
        then=lambda: ToyWorker(lifetime=0, error=EngineDied),
        restarts=WorkerPolicy(max_restarts=1),
    )
    with pytest.raises(PoolError, match="died 2 times, and failures.teacher.max_restarts is 1; .* the process is gone"):
        await play(pool, requests(3))


async def test_a_dead_worker_that_does_not_stop_is_replaced_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(ToyWorker):
        async def stop(self) -> None:
            raise OSError("it is stuck")

    assert len(await play(pool_of(Stuck(lifetime=3, error=EngineDied), concurrency=2), requests(8))) == 8
    assert "did not stop: OSError: it is stuck" in caplog.text


async def test_a_worker_that_dies_while_it_takes_weights_is_replaced_by_one_that_has_them() -> None:
    class Fragile(ToyWorker):
        async def load_weights(self, folder: str, version: int) -> None:
            raise EngineDied("a process of vLLM has died")

    pool = pool_of(Fragile(), ToyWorker())
    await pool.start()
    await pool.load_weights("checkpoints/round=000", 1)
    assert {made.policy.weight_version for made in await rolled_out(pool, requests(8))} == {1}


@pytest.mark.parametrize("error", [KeyError, UserError])
async def test_an_error_that_is_no_death_comes_out_as_it_is(error: type[Exception]) -> None:
    with pytest.raises(error):
        await play(pool_of(ToyWorker(), ToyWorker(lifetime=2, error=error)), requests(20))


async def test_stop_reaches_every_worker() -> None:
    workers = [ToyWorker(), ToyWorker()]
    pool = pool_of(*workers)
    await pool.start()
    await pool.stop()
    assert all(worker.stopped for worker in workers)


async def test_a_pool_can_be_used_again() -> None:
    pool = pool_of(ToyWorker(), ToyWorker())
    await play(pool, requests(3))
    assert len(await rolled_out(pool, requests(7, EVALUATE))) == 7


class Storing(ToyWorker):
    """Ends each episode at once, and stores all of them when it is told to; dies of ``error``, if there is one."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.store = asyncio.Event()
        self.death = error

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        self.played += len(requests)
        yield RolloutUpdate(ended=tuple(request.key for request in requests))
        await self.store.wait()
        if self.death is not None:
            raise self.death("the process is gone")
        yield RolloutUpdate(summaries=tuple(summary(request, self.version) for request in requests))


async def test_an_episode_that_ended_takes_no_place_and_comes_out_when_it_is_stored() -> None:
    worker = Storing()
    pool = pool_of(worker, concurrency=2)
    await pool.start()
    played = asyncio.ensure_future(rolled_out(pool, requests(40)))
    await wait_in_loop(lambda: worker.played == 40, "the places of episodes that ended")
    assert not played.done()
    assert pool.slots[0].owed == 0
    worker.store.set()
    assert tasks(await played) == tasks([summary(request, 0) for request in requests(40)])


async def test_an_episode_that_ended_and_was_not_stored_is_played_again_and_not_blamed_for_deaths() -> None:
    def mortal() -> Storing:
        worker = Storing(WorkerDied)
        worker.store.set()
        return worker

    left = [mortal, mortal, mortal]
    pool = pool_of(mortal(), then=lambda: left.pop()() if left[1:] else ToyWorker())
    await pool.start()
    pool.vouch()
    (only,) = await rolled_out(pool, requests(1))
    assert only.outcome.failure is None
