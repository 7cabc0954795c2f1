"""Rollout of one episode: its environment is always closed, and a hung environment is replaced."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Environment, Reset, Step, Task
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.runner import roll_out
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Identity, Key, StopReason, Trajectory
from tests.waiting import wait_in_loop

CONFIG = AgentConfig(
    max_steps=50, max_tokens=10**5, time_limit_s=20, step_timeout_s=5, sampling=Sampling(max_tokens=40)
)


class Stairs:
    """An environment that is solved by climbing a number of steps. The class counts its instances."""

    made = 0
    closed = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.left = 0

    def reset(self, task: Task) -> Reset:
        self.left = int(task.payload["stairs"] or 0)
        if self.left < 0:
            raise ValueError("there are no stairs down")
        return Reset("You stand at the foot.", "go up")

    def step(self, action: str) -> Step:
        self.left -= 1
        return Step("You go up.", done=self.left <= 0, success=self.left <= 0)

    def admissible_actions(self) -> Sequence[str] | None:
        return ["up"]

    def close(self) -> None:
        type(self).closed += 1


RollOut = Callable[..., Awaitable[Trajectory]]


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture
def stairs() -> type[Stairs]:
    """The environment class with counters at zero."""
    return type("FreshStairs", (Stairs,), {"made": 0, "closed": 0})


@pytest.fixture
def climb(tokenizer: Tokenizer) -> RollOut:
    """Rolls out one episode on stairs of a given height."""
    engine = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("Action: up",), latency_s=0.001), tokenizer)
    builder = PromptBuilder(tokenizer, ReActStyle("Climb."))

    def climb(
        make: Callable[[], Environment],
        height: int,
        config: AgentConfig = CONFIG,
        policy: EpisodePolicy | None = None,
    ) -> Awaitable[Trajectory]:
        task = Task("stairs/0", "stairs", "train", "climb", {"stairs": height})
        identity = Identity("r", "teacher", 0, task.id, 3, task.environment, task.split, task.task_type)
        return roll_out(task, identity, make, engine, builder, config, policy=policy)

    return climb


async def test_an_episode_is_recorded_under_its_key_and_its_environment_is_closed(
    climb: RollOut, stairs: type[Stairs]
) -> None:
    trajectory = await climb(stairs, 2)
    assert trajectory.key == Key("teacher", 0, "stairs/0", 3)
    assert trajectory.outcome.stop_reason is StopReason.SUCCESS
    assert (stairs.made, stairs.closed) == (1, 1)


async def test_a_failed_episode_is_a_result_and_its_environment_is_closed(climb: RollOut, stairs: type[Stairs]) -> None:
    assert (await climb(stairs, -1)).outcome.stop_reason is StopReason.ERROR
    assert (stairs.made, stairs.closed) == (1, 1)


async def test_a_bug_is_raised_and_the_environment_is_closed(climb: RollOut, stairs: type[Stairs]) -> None:
    class Odd(stairs):  # type: ignore[misc, valid-type]
        def step(self, action: str) -> Step:
            return Step(observation=None)  # type: ignore[arg-type]

    with pytest.raises(AttributeError):
        await climb(Odd, 2)
    assert Odd.closed == Odd.made == 1


async def test_an_error_while_creating_an_environment_is_raised(climb: RollOut) -> None:
    def make() -> Environment:
        raise FileNotFoundError("no stairs here")

    with pytest.raises(FileNotFoundError):
        await climb(make, 1)


class Hanging(Stairs):
    """Hangs in the step from ``hangs_at``, in the first ``bad`` environments that are created."""

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
async def test_an_episode_whose_environment_hung_is_rolled_out_once_more(
    climb: RollOut, bad: int, stop: StopReason
) -> None:
    fresh: type[Hanging] = type("Fresh", (Hanging,), {"made": 0, "closed": 0, "bad": bad, "release": threading.Event()})
    trajectory = await climb(fresh, 2, CONFIG.model_copy(update={"step_timeout_s": 1.0}))
    fresh.release.set()
    assert trajectory.outcome.stop_reason is stop
    assert trajectory.key == Key("teacher", 0, "stairs/0", 3)
    assert (fresh.made, fresh.closed) == (2, 2)


@pytest.mark.parametrize(
    ("max_retries", "bad", "stop", "made"),
    [
        (0, 1, StopReason.ERROR, 1),
        (2, 2, StopReason.SUCCESS, 3),
        (2, 9, StopReason.ERROR, 3),
    ],
)
async def test_the_policy_limits_the_retries_of_an_episode_whose_environment_hung(
    climb: RollOut, max_retries: int, bad: int, stop: StopReason, made: int
) -> None:
    fresh: type[Hanging] = type("Fresh", (Hanging,), {"made": 0, "closed": 0, "bad": bad, "release": threading.Event()})
    config = CONFIG.model_copy(update={"step_timeout_s": 0.3})
    trajectory = await climb(fresh, 2, config, EpisodePolicy(max_retries=max_retries))
    fresh.release.set()
    assert trajectory.outcome.stop_reason is stop
    assert (fresh.made, fresh.closed) == (made, made)


async def test_an_environment_that_does_not_close_in_time_is_abandoned(
    climb: RollOut, stairs: type[Stairs], caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Slow(stairs):  # type: ignore[misc, valid-type]
        def close(self) -> None:
            release.wait(8)
            super().close()

    trajectory = await climb(Slow, 1, policy=EpisodePolicy(close_timeout_s=0.05))
    closed = Slow.closed
    release.set()
    assert (trajectory.outcome.stop_reason, closed) == (StopReason.SUCCESS, 0)
    assert "did not close: TimeoutError" in caplog.text


async def test_an_episode_is_returned_even_if_its_environment_cannot_be_closed(
    climb: RollOut, stairs: type[Stairs]
) -> None:
    class Stuck(stairs):  # type: ignore[misc, valid-type]
        def close(self) -> None:
            raise OSError("stuck")

    assert (await climb(Stuck, 1)).outcome.stop_reason is StopReason.SUCCESS


async def test_cancelling_an_episode_closes_its_environment(climb: RollOut, stairs: type[Stairs]) -> None:
    rolling_out = asyncio.ensure_future(climb(stairs, 10**6, CONFIG.model_copy(update={"max_steps": 10**6})))
    await wait_in_loop(lambda: stairs.made, "the start of the episode")
    rolling_out.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rolling_out
    assert stairs.closed == stairs.made == 1
