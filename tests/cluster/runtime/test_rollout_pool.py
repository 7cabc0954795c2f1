"""A pool plays every request once, keeps all its workers busy, and makes good for a worker that dies.

The workers here play nothing: they answer in turns of the event loop, so that every order of events can be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config.failures import WorkerPolicy
from cluster.run.episodes import EpisodeRequest, EpisodeSpec, WorkerContext, WorkerJob
from cluster.run.failed_episodes import KILLS_WORKERS
from cluster.run.steps.rollout import RolloutSpec
from cluster.runtime.rollout_pool import Pool
from cluster.runtime.slot import PoolEvent, RestartBudget
from cluster.runtime.worker import PoolError, WorkerDied
from rollout.environment import Task
from rollout.episode.config import AgentConfig
from rollout.errors import Cause, EngineDied, Failure, UserError
from rollout.trajectory import Identity, Outcome, Policy, StopReason, Trajectory, failed_episode

COLLECT = RolloutSpec("run", "teacher", 0, "trajectories/teacher", AgentConfig())
EVALUATE = RolloutSpec("run", "teacher", 0, "evaluation/teacher", AgentConfig())


def requests(count: int, spec: EpisodeSpec = COLLECT) -> list[EpisodeRequest]:
    return [EpisodeRequest(spec, Task(f"task/{i}", "household", "train", ""), 0) for i in range(count)]


def summary(request: EpisodeRequest, version: int) -> Trajectory:
    identity = Identity("run", request.spec.role, 0, request.task.id, request.attempt, "household", "train")
    return Trajectory(identity, Policy("m", version, "react"), Outcome(1.0, True, StopReason.SUCCESS), ())


class ToyWorker:
    """Answers each request after ``turns`` turns of the event loop; dies after ``lifetime`` answers."""

    def __init__(self, turns: int = 1, lifetime: int | None = None, error: type[Exception] = WorkerDied) -> None:
        self.turns = turns
        self.left = lifetime
        self.error = error
        self.version = 0
        self.holds = 0
        self.most = 0
        self.stores: list[set[str]] = []
        self.played = 0
        self.stopped = False

    async def start(self) -> tuple[str, ...]:
        await asyncio.sleep(0)
        return ()

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        self.holds += len(requests)
        self.most = max(self.most, self.holds)
        self.stores.append({request.spec.store for request in requests})
        for request in requests:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise self.error("the process is gone")
            self.holds -= 1
            self.played += 1
            yield [summary(request, self.version)]

    async def ping(self) -> None:
        """It is there."""

    async def load_weights(self, folder: str, version: int) -> None:
        self.version = version

    async def stop(self) -> None:
        self.stopped = True


def pool_of(
    *workers: ToyWorker,
    concurrency: int = 4,
    then: Callable[[], ToyWorker] = ToyWorker,
    restarts: WorkerPolicy | None = None,
) -> Pool:
    """A pool whose first workers are these; replacements are made by ``then``."""
    waiting = list(workers)
    policy = (restarts or WorkerPolicy()).model_copy(update={"restart_wait_s": 0.0})
    return Pool("teacher", lambda: waiting.pop(0) if waiting else then(), len(workers), concurrency, policy)


async def play(pool: Pool, wanted: Sequence[EpisodeRequest]) -> list[Trajectory]:
    await pool.start()
    return await rolled_out(pool, wanted)


async def rolled_out(pool: Pool, wanted: Sequence[EpisodeRequest], priority: int = 0) -> list[Trajectory]:
    return [summary async for summary in pool.rollout(wanted, priority)]


def tasks(summaries: Sequence[Trajectory]) -> list[str]:
    return sorted(summary.identity.task for summary in summaries)


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
        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
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


def fresh(*, poison: str) -> ToyWorker:
    """A worker that plays everything except the task ``poison``, of which it dies."""

    class Picky(ToyWorker):
        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
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

        async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
            await asyncio.Event().wait()
            yield []

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

    async def rollout(self, requests: Sequence[EpisodeRequest]) -> AsyncIterator[list[Trajectory]]:
        for request in requests:
            await asyncio.sleep(0)
            self.played += 1
            yield [failed_episode(request.identity, Failure("engine", "OSError", "no memory", Cause.ENGINE))]


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
