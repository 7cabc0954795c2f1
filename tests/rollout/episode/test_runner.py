"""Many episodes at once: bounded, without a barrier, each result as it comes, none lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing

import pytest

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Environment, Reset, Step, Task
from rollout.episode.config import AgentConfig
from rollout.episode.runner import Job, job, run_episodes
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Key, StopReason, Trajectory

CONFIG = AgentConfig(
    max_steps=50, max_tokens=10**5, time_limit_s=20, step_timeout_s=5, sampling=Sampling(max_tokens=40)
)


class Stairs:
    """So many steps up, each the only sensible action. All of them together count who plays."""

    playing = 0
    most_playing = 0
    made = 0
    closed = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.left = 0

    def reset(self, task: Task) -> Reset:
        kind = type(self)
        kind.playing += 1
        kind.most_playing = max(kind.most_playing, kind.playing)
        self.left = int(task.payload["stairs"] or 0)
        if self.left < 0:
            kind.playing -= 1
            raise ValueError("there are no stairs down")
        return Reset("You stand at the foot.", "go up")

    def step(self, action: str) -> Step:
        self.left -= 1
        if self.left <= 0:
            type(self).playing -= 1
        return Step("You go up.", done=self.left <= 0, success=self.left <= 0)

    def admissible_actions(self) -> Sequence[str] | None:
        return ["up"]

    def close(self) -> None:
        type(self).closed += 1


Run = Callable[..., AsyncGenerator[Trajectory, None]]


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture
def stairs() -> type[Stairs]:
    """The environment with fresh counts."""
    return type("FreshStairs", (Stairs,), {"playing": 0, "most_playing": 0, "made": 0, "closed": 0})


@pytest.fixture
def run(tokenizer: Tokenizer) -> Run:
    engine = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("Action: up",), latency_s=0.001), tokenizer)
    builder = PromptBuilder(tokenizer, ReActStyle("Climb."))

    def run(
        jobs: Iterable[Job], make: Callable[[], Environment], concurrency: int = 4, config: AgentConfig = CONFIG
    ) -> AsyncGenerator[Trajectory, None]:
        return run_episodes(jobs, make, engine, builder, config, concurrency=concurrency)

    return run


def jobs_of(*stairs: int) -> list[Job]:
    return [
        job(Task(f"stairs/{i}", "stairs", "train", "climb", {"stairs": n}), run="r", role="teacher", attempt=i)
        for i, n in enumerate(stairs)
    ]


async def test_every_job_gives_one_trajectory_under_its_key(run: Run, stairs: type[Stairs]) -> None:
    keys = {t.key async for t in run(jobs_of(1, 2, 3, 1, 2, 3), stairs)}
    assert keys == {Key("teacher", 0, f"stairs/{i}", i) for i in range(6)}


async def test_no_more_run_at_once_than_allowed_and_slots_are_refilled(run: Run, stairs: type[Stairs]) -> None:
    made = [t async for t in run(jobs_of(*[2] * 20), stairs, concurrency=3)]
    assert (len(made), stairs.most_playing) == (20, 3)
    assert (stairs.made, stairs.closed) == (3, 3), "a slot keeps its environment, and closes it at the end"


async def test_a_long_episode_holds_nobody_up(run: Run, stairs: type[Stairs]) -> None:
    order = [t.identity.attempt async for t in run(jobs_of(45, *[1] * 10), stairs, concurrency=2)]
    assert order == [*range(1, 11), 0]


async def test_jobs_are_drawn_as_slots_get_free(run: Run, stairs: type[Stairs]) -> None:
    drawn = []

    def lazily() -> Iterator[Job]:
        for job_ in jobs_of(*[1] * 20):
            drawn.append(job_)
            yield job_

    async with aclosing(run(lazily(), stairs, concurrency=2)) as episodes:
        await anext(episodes)
        assert len(drawn) <= 6
    assert stairs.closed == stairs.made == 2, "who stops listening cancels the rest"


async def test_no_jobs_no_trajectories(run: Run, stairs: type[Stairs]) -> None:
    assert [t async for t in run([], stairs)] == []


async def test_a_failed_episode_is_a_result_and_its_environment_is_replaced(run: Run, stairs: type[Stairs]) -> None:
    made = [t async for t in run(jobs_of(1, -1, 1), stairs, concurrency=1)]
    assert [t.outcome.stop_reason for t in made] == [StopReason.SUCCESS, StopReason.ERROR, StopReason.SUCCESS]
    assert (stairs.made, stairs.closed) == (2, 2)


async def test_a_bug_stops_everything_and_is_raised(run: Run, stairs: type[Stairs]) -> None:
    class Odd(stairs):  # type: ignore[misc, valid-type]
        def step(self, action: str) -> Step:
            if self.left == 3:
                return Step(observation=None)  # type: ignore[arg-type]
            return super().step(action)

    with pytest.raises(AttributeError):
        _ = [t async for t in run(jobs_of(1, 2, 4, *[1] * 5), Odd)]
    assert Odd.closed == Odd.made


async def test_what_making_an_environment_raises_is_raised(run: Run) -> None:
    def make() -> Environment:
        raise FileNotFoundError("no stairs here")

    with pytest.raises(FileNotFoundError):
        _ = [t async for t in run(jobs_of(1), make)]


class Hanging(Stairs):
    """Does not answer the step it makes from ``hangs_at``, in the first ``bad`` environments that are made."""

    blocking = True
    bad = 1
    release = threading.Event()

    def __init__(self) -> None:
        super().__init__()
        self.hangs = type(self).made <= self.bad

    def step(self, action: str) -> Step:
        if self.hangs:
            self.release.wait(20)
        return super().step(action)


@pytest.mark.parametrize(("bad", "stop"), [(1, StopReason.SUCCESS), (9, StopReason.ERROR)])
async def test_an_episode_whose_environment_hung_is_played_once_more(run: Run, bad: int, stop: StopReason) -> None:
    fresh: type[Hanging] = type("Fresh", (Hanging,), {"made": 0, "closed": 0, "bad": bad, "release": threading.Event()})
    config = CONFIG.model_copy(update={"step_timeout_s": 0.3})
    made = [t async for t in run(jobs_of(2), fresh, config=config)]
    fresh.release.set()
    assert [t.outcome.stop_reason for t in made] == [stop]
    assert made[0].key == Key("teacher", 0, "stairs/0", 0)
    assert (fresh.made, fresh.closed) == (2, 2)


async def test_an_environment_that_cannot_close_does_not_lose_its_episode(run: Run, stairs: type[Stairs]) -> None:
    class Stuck(stairs):  # type: ignore[misc, valid-type]
        def close(self) -> None:
            raise OSError("stuck")

    assert len([t async for t in run(jobs_of(1, 1), Stuck)]) == 2


async def test_cancelling_the_one_who_listens_closes_the_environments(run: Run, stairs: type[Stairs]) -> None:
    async def listen() -> None:
        async with aclosing(run(jobs_of(*[40] * 4), stairs)) as episodes:
            async for _ in episodes:
                pass

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.05)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert stairs.closed == stairs.made
