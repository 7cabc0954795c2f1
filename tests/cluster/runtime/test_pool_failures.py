"""A pool goes on with the workers that it has: those that die, hang, fail or start late cost no episode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pytest

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, RolloutUpdate, WorkerContext, WorkerJob
from cluster.run.failed_episodes import KILLS_WORKERS
from cluster.runtime.slot import PoolEvent, RestartBudget
from cluster.runtime.worker import WorkerDied
from rollout.errors import Cause, Failure, UserError
from rollout.trajectory import failed_episode
from tests.cluster.runtime.toy_workers import (
    ToyWorker,
    play,
    pool_of,
    requests,
    rolled_out,
    summary,
    tasks,
)


def fresh(*, poison: str) -> ToyWorker:
    """A worker that plays everything except the task ``poison``, of which it dies."""

    class Picky(ToyWorker):
        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
            for request in requests:
                if request.task.id == poison:
                    await asyncio.sleep(0)
                    raise WorkerDied("out of memory")
                async for summaries in super().rollout([request]):
                    yield summaries

    return Picky()


class Job:
    """Work that is not an episode."""

    async def run(self, context: WorkerContext) -> dict[str, int]:
        return {}


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("number", [0, 5, 19])
async def test_only_the_task_that_kills_its_workers_fails_and_it_costs_no_restart(
    concurrency: int, num_workers: int, number: int
) -> None:
    poison = f"task/{number}"
    workers = [fresh(poison=poison) for _ in range(num_workers)]
    pool = pool_of(*workers, concurrency=concurrency, then=lambda: fresh(poison=poison))
    played = await play(pool, requests(20))
    assert tasks(played) == tasks([summary(request, 0) for request in requests(20)])
    failed = {made.identity.task: made.outcome.failure for made in played if made.outcome.failure}
    assert list(failed) == [poison]
    assert failed[poison] is not None
    assert (failed[poison].type, failed[poison].message) == (KILLS_WORKERS, "out of memory")
    assert sum(slot.budget.deaths for slot in pool.slots) == 0


async def test_a_task_is_blamed_again_when_it_is_all_that_is_left_after_a_restart_of_the_run() -> None:
    pool = pool_of(fresh(poison="task/0"), then=lambda: fresh(poison="task/0"))
    await pool.start()
    pool.vouch()
    (only,) = await rolled_out(pool, requests(1))
    assert only.outcome.failure is not None
    assert only.outcome.failure.type == KILLS_WORKERS


async def test_what_a_dead_worker_owed_is_played_by_others_while_its_replacement_starts() -> None:
    class Slow(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            await asyncio.Event().wait()
            return ()

    pool = pool_of(ToyWorker(lifetime=1), ToyWorker(), then=Slow)
    assert len(await play(pool, requests(20))) == 20
    await pool.stop()


async def test_rolling_out_begins_with_the_first_worker_that_is_ready_and_others_join() -> None:
    opened = asyncio.Event()

    class Late(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            await opened.wait()
            return ()

    first, late = ToyWorker(turns=2), Late()
    pool = pool_of(late, first, concurrency=2)
    await pool.start()
    async with aclosing(pool.rollout(requests(60))) as summaries:
        await anext(summaries)
        assert late.played == 0
        opened.set()
        assert len([1 async for _ in summaries]) == 59
    assert late.played > 5


async def test_a_worker_whose_budget_is_spent_is_left_out_and_the_others_finish() -> None:
    events: list[PoolEvent] = []
    pool = pool_of(ToyWorker(lifetime=0), ToyWorker(turns=3), restarts=WorkerPolicy(max_restarts=0))
    pool.on_event = events.append
    assert len(await play(pool, requests(20))) == 20
    assert [(event.kind, event.text) for event in events] == [
        ("retired", "worker 1 of the teacher pool died once and is not started again: the process is gone")
    ]


async def test_a_worker_that_cannot_start_is_left_out_if_another_one_is_ready() -> None:
    class Misplaced(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            for _ in range(5):
                await asyncio.sleep(0)
            raise UserError("the model is not on this node")

    events: list[PoolEvent] = []
    pool = pool_of(ToyWorker(), Misplaced())
    pool.on_event = events.append
    assert len(await play(pool, requests(30))) == 30
    (event,) = events
    assert event.text == "worker 2 of the teacher pool cannot start: the model is not on this node"


@pytest.mark.parametrize("others", [0, 1])
async def test_a_setting_that_worked_before_is_not_to_blame_when_a_restart_fails(others: int) -> None:
    """An endpoint that is away for a while refuses a worker that starts again with the words of a wrong setting."""

    class Refused(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            raise UserError("the engine cannot be used")

    answers: list[Callable[[], ToyWorker]] = [Refused, Refused, ToyWorker]
    dying = [ToyWorker(lifetime=2) for _ in range(1 + others)]
    pool = pool_of(*dying, then=lambda: (answers.pop(0) if answers else ToyWorker)())
    assert len(await play(pool, requests(20))) == 20
    await pool.stop()


async def test_a_ping_that_fails_is_a_death() -> None:
    class Broken(ToyWorker):
        async def ping(self) -> None:
            raise OSError("the connection is lost")

        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
            await asyncio.Event().wait()
            yield RolloutUpdate()

    pool = pool_of(Broken(), restarts=WorkerPolicy(heartbeat_timeout_s=0.05))
    assert len(await play(pool, requests(5))) == 5


async def test_all_workers_that_cannot_start_are_one_error() -> None:
    class Wrong(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            raise UserError("there is no such model")

    with pytest.raises(UserError, match="^there is no such model$"):
        await pool_of(Wrong(), Wrong()).start()


async def test_a_worker_that_does_not_answer_is_replaced_and_its_episodes_are_played() -> None:
    class Deaf(ToyWorker):
        async def ping(self) -> None:
            await asyncio.Event().wait()

        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
            await asyncio.Event().wait()
            yield RolloutUpdate()

    deaf, events = Deaf(), list[PoolEvent]()
    pool = pool_of(deaf, restarts=WorkerPolicy(heartbeat_timeout_s=0.05))
    pool.on_event = events.append
    assert len(await play(pool, requests(5))) == 5
    assert deaf.stopped
    assert ["it did not answer: no answer within 0.05 s" in event.text for event in events] == [True]


async def test_a_job_is_run_by_another_worker_if_the_first_one_hangs() -> None:
    class Deaf(ToyWorker):
        async def ping(self) -> None:
            await asyncio.Event().wait()

        async def call(self, job: WorkerJob) -> dict[str, int]:
            await asyncio.Event().wait()
            return {}

    class Able(ToyWorker):
        async def call(self, job: WorkerJob) -> dict[str, int]:
            return {"done": 1}

    pool = pool_of(Deaf(), then=Able, restarts=WorkerPolicy(heartbeat_timeout_s=0.05))
    await pool.start()
    assert await pool.call(Job()) == {"done": 1}


@pytest.mark.parametrize("part", ["start", "load_weights"])
async def test_a_worker_that_takes_too_long_is_replaced(part: str) -> None:
    class Stuck(ToyWorker):
        async def start(self) -> tuple[str, ...]:
            await asyncio.Event().wait() if part == "start" else None
            return ()

        async def load_weights(self, folder: str, version: int) -> None:
            await asyncio.Event().wait()

    pool = pool_of(Stuck(), restarts=WorkerPolicy(start_timeout_s=0.05, load_timeout_s=0.05))
    await pool.start()
    await pool.load_weights("checkpoints/round=000", 1)
    assert {made.policy.weight_version for made in await rolled_out(pool, requests(8))} == {1}


class Sick(ToyWorker):
    """Fails in every episode at once: it is always free first."""

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[RolloutUpdate]:
        for request in requests:
            await asyncio.sleep(0)
            self.played += 1
            failure = Failure("engine", "OSError", "no memory", Cause.ENGINE)
            yield RolloutUpdate(summaries=(failed_episode(request.identity, failure),))


async def test_a_sick_worker_attracts_little_work_and_is_restarted_while_others_succeed() -> None:
    made: list[Sick] = []

    def sick() -> Sick:
        made.append(Sick())
        return made[-1]

    events: list[PoolEvent] = []
    pool = pool_of(ToyWorker(turns=5), sick(), concurrency=8, then=sick)
    pool.on_event = events.append
    played = await play(pool, requests(400))
    assert len(played) == 400
    failed = sum(made.outcome.failure is not None for made in played)
    assert failed <= 8 + 8 * 4 + 8, "one chunk at first, then one episode at a time, for each of four lives"
    assert [event.kind for event in events] == ["restart"] * 3 + ["retired"]
    assert "its last 8 episodes failed (OSError: no memory), and those of other workers did not" in events[0].text


async def test_workers_that_all_fail_are_not_restarted() -> None:
    sick = [Sick(), Sick()]
    pool = pool_of(*sick)
    assert len(await play(pool, requests(60))) == 60
    assert not any(worker.stopped for worker in sick)


def test_deaths_count_against_the_budget_for_the_time_of_its_window() -> None:
    now_s = 0.0
    budget = RestartBudget(WorkerPolicy(max_restarts=2, restart_window_s=100.0), lambda: now_s)
    budget.record()
    budget.record()
    assert not budget.is_spent
    now_s = 90.0
    budget.record()
    assert budget.is_spent
    now_s = 101.0
    assert (budget.deaths, budget.is_spent) == (1, False)
