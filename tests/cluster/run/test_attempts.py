"""Failed episodes are tried again, a task that alone explains its failures is given up, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cluster.config.recipe import Recipe
from cluster.run.attempts import Attempts, Completed
from cluster.run.directory import RunDirectory
from cluster.run.episodes import Requests
from cluster.run.failed_episodes import KILLS_WORKERS, FailedEpisodes, IncompleteError
from cluster.run.plan import make_plan
from cluster.run.steps.step import EpisodeStep
from rollout.episode.config import EpisodePolicy
from rollout.errors import Cause, Failure, UserError
from rollout.trajectory import Counts, Outcome, Policy, StopReason, Trajectory, failed_episode, is_owed
from rollout.trajectory.arrow import key_table

POLICY = EpisodePolicy(retry_wait_s=0.0)
MakeRecipe = Callable[..., Recipe]


@dataclass
class Toy:
    """Completes episodes, except those of ``poison`` tasks, and none from the ``dies``-th attempt on."""

    poison: Collection[str] = ()
    cause: Cause = Cause.ENVIRONMENT
    type: str = "OSError"
    dies: int = 10**9
    recovers: int = 10**9
    attempts: Counter[str] = field(default_factory=Counter)
    retries: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    async def roll_out(self, requests: Requests) -> AsyncGenerator[Trajectory, None]:
        self.calls.append(len(requests))
        for request in requests:
            await asyncio.sleep(0)
            self.attempts[request.task.id] += 1
            self.retries.append(request.retries)
            number = self.attempts.total()
            if request.task.id in self.poison or self.dies <= number < self.recovers:
                yield failed_episode(request.identity, Failure("engine", self.type, "no answer", self.cause))
            else:
                outcome = Outcome(1.0, True, StopReason.SUCCESS, retries=request.retries)
                yield Trajectory(request.identity, Policy("m", 0, "react"), outcome, (), Counts(steps=3))


@pytest.fixture
def step(toy_recipe: MakeRecipe, tmp_path: Path) -> EpisodeStep:
    plan = make_plan(toy_recipe(), RunDirectory(tmp_path))
    return next(step for step in plan.episode_steps() if step.name == "collect/teacher/0")


Start = Callable[..., list[Trajectory]]


@pytest.fixture
def start(step: EpisodeStep, tmp_path: Path) -> Start:
    """Starts the step once more on what earlier starts left; gives what came out."""
    stored: dict[str, Trajectory] = {}

    def start(toy: Toy, policy: EpisodePolicy = POLICY) -> list[Trajectory]:
        completed = Completed(step.requests)
        for summary in stored.values():
            (place,) = step.requests.keys.places(key_table([summary.key]))
            completed.add(int(place), summary.counts.steps)
        attempts = Attempts(step, completed, RunDirectory(tmp_path), policy)

        async def consume() -> list[Trajectory]:
            ended = []
            async for summary in attempts.summaries(toy.roll_out):
                ended.append(summary)
                if not is_owed(summary):
                    stored[summary.identity.task] = summary
            return ended

        return asyncio.run(consume())

    return start


@pytest.fixture
def failed(step: EpisodeStep, tmp_path: Path) -> FailedEpisodes:
    return step.failed(RunDirectory(tmp_path))


def task(step: EpisodeStep, number: int) -> str:
    return step.requests[number].task.id


def test_without_failures_every_episode_is_requested_once_and_no_file_is_written(
    start: Start, step: EpisodeStep, tmp_path: Path
) -> None:
    toy = Toy()
    assert len(start(toy)) == 12
    assert toy.calls == [12]
    assert {path.name for path in tmp_path.iterdir()} <= {"toy-model0"}


def test_an_episode_that_fails_for_a_while_is_completed_in_the_same_start_with_its_retries_counted(
    start: Start, failed: FailedEpisodes
) -> None:
    toy = Toy(dies=5, recovers=8)
    ended = start(toy)
    assert (len(ended), sum(map(is_owed, ended))) == (15, 3)
    assert toy.calls == [12, 1, 3]  # all, the control, those that failed
    assert sorted(toy.retries) == [0] * 13 + [1] * 3
    assert {summary.outcome.retries for summary in ended[-3:]} == {1}
    assert (failed.owed(), failed.tombstones()) == ({}, {})


def test_a_task_that_fails_in_all_attempts_while_others_are_completed_is_given_up(
    start: Start, step: EpisodeStep, failed: FailedEpisodes
) -> None:
    toy = Toy(poison=[task(step, 3)])
    start(toy)
    assert toy.calls == [12, 1, 1, 1, 1, 1]
    assert failed.owed() == {}
    [tombstone] = failed.tombstones().values()
    assert (tombstone.identity.task, tombstone.attempts, tombstone.counted) == (task(step, 3), 3, 3)
    assert tombstone.failure == Failure("engine", "OSError", "no answer", Cause.ENVIRONMENT)
    again = Toy(poison=[task(step, 3)])
    assert start(again) == []
    assert again.calls == []


def test_a_task_that_killed_its_workers_is_given_up_at_once_if_the_control_is_completed(
    start: Start, step: EpisodeStep, failed: FailedEpisodes
) -> None:
    toy = Toy(poison=[task(step, 3)], type=KILLS_WORKERS)
    start(toy)
    assert toy.calls == [12, 1]
    assert [episode.identity.task for episode in failed.tombstones().values()] == [task(step, 3)]


def test_tasks_that_killed_their_workers_are_owed_if_the_control_fails_too(
    start: Start, failed: FailedEpisodes
) -> None:
    start(Toy(dies=4, type=KILLS_WORKERS))
    assert (failed.tombstones(), len(failed.owed())) == ({}, 9)


def test_deleting_the_tombstones_tries_their_episodes_again(
    start: Start, step: EpisodeStep, failed: FailedEpisodes
) -> None:
    start(Toy(poison=[task(step, 3)]))
    failed.tombstone_file.unlink()
    assert [summary.identity.task for summary in start(Toy())] == [task(step, 3)]
    assert (failed.owed(), failed.tombstones()) == ({}, {})


@pytest.mark.parametrize("dies", [1, 4])
def test_nothing_is_given_up_while_nothing_works_however_often_the_command_is_repeated(
    start: Start, failed: FailedEpisodes, dies: int
) -> None:
    for _ in range(4):
        start(Toy(dies=dies, cause=Cause.ENGINE))
        dies = 1
    assert failed.tombstones() == {}
    assert {(episode.attempts, episode.counted) for episode in failed.owed().values()} == {(12, 0)}
    owed = len(failed.owed())
    assert len(start(Toy())) == owed
    assert failed.owed() == {}


def test_attempts_are_counted_over_all_starts(start: Start, step: EpisodeStep, failed: FailedEpisodes) -> None:
    policy = POLICY.model_copy(update={"max_retries": 0, "max_attempts": 2})
    start(Toy(poison=[task(step, 0)]), policy)
    assert [(episode.attempts, episode.counted) for episode in failed.owed().values()] == [(1, 1)]
    second = Toy(poison=[task(step, 0)])
    start(second, policy)
    assert second.retries == [1, 0]  # the episode, and the control
    assert (failed.owed(), len(failed.tombstones())) == ({}, 1)


def test_a_setting_that_fails_several_episodes_in_the_same_way_ends_the_step_at_once(
    start: Start, failed: FailedEpisodes
) -> None:
    toy = Toy(dies=5, cause=Cause.SETUP)
    with pytest.raises(IncompleteError, match=r"teacher collects: no answer \(3 episodes"):
        start(toy)
    assert toy.attempts.total() == 7
    assert (len(failed.owed()), failed.tombstones()) == (3, {})
    assert len(start(Toy())) == 8


def test_one_task_with_a_wrong_setting_does_not_end_the_step_but_is_given_up(
    start: Start, step: EpisodeStep, failed: FailedEpisodes
) -> None:
    start(Toy(poison=[task(step, 1)], cause=Cause.SETUP))
    assert [tombstone.failure.cause for tombstone in failed.tombstones().values()] == [Cause.SETUP]


def test_after_many_failures_in_a_row_no_further_episode_is_started_until_the_next_attempt(start: Start) -> None:
    toy = Toy(dies=3)
    start(toy, POLICY.model_copy(update={"max_failures_in_a_row": 4, "max_retries": 1}))
    assert toy.calls == [12, 1, 10, 1]
    assert toy.attempts.total() == 6 + 1 + 4 + 1


def test_an_error_of_the_pool_keeps_what_failed_before(start: Start, step: EpisodeStep, failed: FailedEpisodes) -> None:
    class Broken(Toy):
        async def roll_out(self, requests: Requests) -> AsyncGenerator[Trajectory, None]:
            async for summary in super().roll_out(list(requests)[:3]):
                yield summary
            raise UserError("a worker died 4 times")

    with pytest.raises(UserError, match="died 4 times"):
        start(Broken(poison=[task(step, 1)]))
    assert [episode.identity.task for episode in failed.owed().values()] == [task(step, 1)]


def test_what_a_source_gave_up_is_given_up_by_the_steps_that_are_made_from_it(
    start: Start, step: EpisodeStep, tmp_path: Path
) -> None:
    start(Toy(poison=[task(step, 3)]))
    run = RunDirectory(tmp_path)
    scoring = replace(step, name="score/teacher/0", source=step.name)
    assert scoring.failed(run).tombstones().keys() == {step.requests[3].key}
    attempts = Attempts(scoring, Completed(scoring.requests), run, POLICY)
    assert len(attempts.missing()) == 11

    async def score() -> list[Trajectory]:
        return [summary async for summary in attempts.summaries(Toy(poison=[task(step, 5)]).roll_out)]

    asyncio.run(score())
    step.failed(run).tombstone_file.unlink()
    assert scoring.failed(run).tombstones().keys() == {step.requests[5].key}


def test_a_damaged_file_of_failed_episodes_is_one_sentence(start: Start, failed: FailedEpisodes) -> None:
    failed.owed_file.parent.mkdir()
    failed.owed_file.write_text('{"identity": 3}\n')
    with pytest.raises(UserError, match=r"collect-teacher-0\.jsonl cannot be read .* delete it"):
        start(Toy())
