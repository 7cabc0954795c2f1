"""Rollout of one episode: its environment is always closed, and a failure is the agent's only if that is shown."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures.process import BrokenProcessPool

import pytest

from rollout.engine import Completion, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Environment, Reset, Step, Task
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.runner import roll_out
from rollout.errors import AgentError, EngineDied, InfrastructureError, UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.tools.sandbox.errors import SandboxError
from rollout.trajectory import Cause, Failure, Identity, Key, StopReason, Trajectory, is_owed
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


async def test_a_task_that_cannot_start_is_owed_and_its_environment_is_closed(
    climb: RollOut, stairs: type[Stairs]
) -> None:
    trajectory = await climb(stairs, -1)
    assert trajectory.outcome.stop_reason is StopReason.ERROR
    assert is_owed(trajectory)
    assert (stairs.made, stairs.closed) == (1, 1)


async def test_a_bug_is_raised_and_the_environment_is_closed(
    climb: RollOut, stairs: type[Stairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptBuilder, "observation", None)
    with pytest.raises(TypeError):
        await climb(stairs, 2)
    assert stairs.closed == stairs.made == 1


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (FileNotFoundError("no stairs here"), Cause.ENVIRONMENT),
        (ConnectionRefusedError("no host for stairs"), Cause.INFRASTRUCTURE),
        (UserError("stairs are not installed"), Cause.SETUP),
    ],
)
async def test_an_episode_whose_environment_cannot_be_created_is_owed(
    climb: RollOut, error: Exception, cause: Cause
) -> None:
    def make() -> Environment:
        raise error

    trajectory = await climb(make, 1)
    assert trajectory.key == Key("teacher", 0, "stairs/0", 3)
    assert trajectory.outcome.failure == Failure("environment", type(error).__name__, str(error), cause)


class Failing(Stairs):
    """The second step fails: with ``errors``, one environment after the other; without one left, none fails."""

    errors: Sequence[Exception] = ()
    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.error = self.errors[type(self).made - 1] if type(self).made <= len(self.errors) else None
        self.height = 0

    def reset(self, task: Task) -> Reset:
        self.height = 0
        return super().reset(task)

    def step(self, action: str) -> Step:
        self.height += 1
        if self.height == 2 and self.error is not None:
            raise self.error
        return super().step(action)


def failing(*errors: Exception) -> type[Failing]:
    return type("FreshFailing", (Failing,), {"made": 0, "closed": 0, "errors": errors})


async def test_a_failure_that_the_environment_declares_as_the_agents_is_a_result_without_a_replay(
    climb: RollOut,
) -> None:
    broken = failing(AgentError("the stairs do not lead to the moon"))
    trajectory = await climb(broken, 3)
    failure = Failure("environment", "AgentError", "the stairs do not lead to the moon", Cause.AGENT)
    assert (trajectory.outcome.failure, trajectory.outcome.stop_reason) == (failure, StopReason.ERROR)
    assert not is_owed(trajectory)
    assert (broken.made, broken.closed) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (KeyError("moon"), KeyError("moon")),
        (ValueError("at 0x7f01: 17 stairs"), ValueError("at 0x9a: 4 stairs")),
        (FileNotFoundError(2, "no such stairs", "moon"), FileNotFoundError(2, "no such stairs", "moon")),
    ],
)
async def test_a_failure_that_a_fresh_replay_reproduces_is_the_agents(
    climb: RollOut, first: Exception, second: Exception
) -> None:
    broken = failing(first, second)
    trajectory = await climb(broken, 3)
    assert trajectory.outcome.failure is not None
    assert trajectory.outcome.failure.cause is Cause.AGENT
    assert trajectory.counts.steps == 2
    assert (broken.made, broken.closed) == (2, 2)


@pytest.mark.parametrize(
    "second", [[], [KeyError("sun")], [ValueError("moon")], [ConnectionResetError("the host went away")]]
)
async def test_a_failure_that_a_fresh_replay_does_not_reproduce_is_owed(
    climb: RollOut, second: Sequence[Exception]
) -> None:
    broken = failing(KeyError("moon"), *second)
    trajectory = await climb(broken, 3)
    assert trajectory.outcome.failure == Failure("environment", "KeyError", "'moon'", Cause.ENVIRONMENT)
    assert is_owed(trajectory)
    assert (broken.made, broken.closed) == (2, 2)


async def test_the_same_failure_at_another_step_of_the_replay_is_not_the_agents(climb: RollOut) -> None:
    class Random(Failing):
        made = 0
        errors = (KeyError("moon"), KeyError("moon"))

        def reset(self, task: Task) -> Reset:
            start = super().reset(task)
            self.height = type(self).made - 1  # the second one fails in its first step
            return start

    assert is_owed(await climb(Random, 3))


class OutOfMemoryError(RuntimeError):
    """As torch's."""


class ReadTimeout(Exception):
    """As httpx's."""


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("no answer"),
        ConnectionResetError("gone"),
        BrokenPipeError("gone"),
        EOFError("the child ended"),
        MemoryError(),
        ChildProcessError("ended with code -9"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("the disk went away"),
        subprocess.TimeoutExpired("stairs", 3),
        subprocess.CalledProcessError(-9, "stairs"),
        BrokenProcessPool("a process was terminated abruptly"),
        InfrastructureError("the server of stairs is down"),
        SandboxError("no room for another interpreter"),
        OutOfMemoryError("tried to allocate 2 GiB"),
        ReadTimeout("the request timed out"),
        raised_from(RuntimeError("the step failed"), ConnectionRefusedError("refused")),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_dead_unreachable_slow_or_exhausted_environment_is_infrastructure_although_it_fails_again(
    climb: RollOut, error: Exception
) -> None:
    broken = failing(error, error)
    trajectory = await climb(broken, 3)
    assert trajectory.outcome.failure is not None
    assert trajectory.outcome.failure.cause is Cause.INFRASTRUCTURE
    assert is_owed(trajectory)
    assert (broken.made, broken.closed) == (1, 1)


async def test_an_environment_that_hangs_is_infrastructure(climb: RollOut) -> None:
    release = threading.Event()

    class Hanging(Stairs):
        blocking = True

        def step(self, action: str) -> Step:
            release.wait(20)
            return super().step(action)

    trajectory = await climb(Hanging, 2, CONFIG.model_copy(update={"step_timeout_s": 0.3}))
    release.set()
    failure = Failure("environment", "TimeoutError", "no answer within 0.3 s", Cause.INFRASTRUCTURE)
    assert trajectory.outcome.failure == failure


async def test_a_replay_that_hangs_does_not_make_a_failure_the_agents(climb: RollOut) -> None:
    release = threading.Event()

    class Slow(Failing):
        made = 0
        errors = (KeyError("moon"),)

        def step(self, action: str) -> Step:
            if self.error is None:
                release.wait(20)
            return super().step(action)

    trajectory = await climb(Slow, 3, CONFIG.model_copy(update={"step_timeout_s": 0.3}))
    release.set()
    assert trajectory.outcome.failure == Failure("environment", "KeyError", "'moon'", Cause.ENVIRONMENT)


async def test_a_dead_engine_ends_the_episode_with_an_error_of_its_own(
    tokenizer: Tokenizer, stairs: type[Stairs]
) -> None:
    class Dead(ScriptedEngine):
        async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
            raise EngineDied("its process was killed")

    engine = Dead(ScriptedConfig(tokenizer="-", replies=("-",)), tokenizer)
    task = Task("stairs/0", "stairs", "train", "climb", {"stairs": 2})
    identity = Identity("r", "teacher", 0, task.id, 0, "stairs", "train")
    with pytest.raises(EngineDied):
        await roll_out(task, identity, stairs, engine, PromptBuilder(tokenizer, ReActStyle("Climb.")), CONFIG)
    assert stairs.closed == stairs.made == 1


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
