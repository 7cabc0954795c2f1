"""No call of an environment holds up the event loop; each has a limit, and its answer is checked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from rollout.engine import Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Environment, Reset, Step, Task
from rollout.episode.acting import ConstrainedActing, SelfConsistentActing
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.runner import roll_out
from rollout.errors import SetupError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Cause, Failure, Identity, StopReason, Trajectory, is_owed
from tests.waiting import wait_in_loop

CONFIG = AgentConfig(max_steps=3, max_tokens=10**4, sampling=Sampling(max_tokens=40))
LONG_S = 60.0


class Ladder:
    """Solved by one step. ``before`` is called with the name of each method, ``returns`` replaces what they return."""

    def __init__(self, before: Callable[[str], object] = str, **returns: Any) -> None:
        self.before, self.returns = before, returns
        before("create")

    def reset(self, task: Task) -> Reset:
        self.before("reset")
        return self.returns.get("reset", Reset("A ladder.", "go up"))  # type: ignore[no-any-return]

    def step(self, action: str) -> Step:
        self.before("step")
        return self.returns.get("step", Step("Up.", done=True, success=True))  # type: ignore[no-any-return]

    def admissible_actions(self) -> Sequence[str] | None:
        self.before("admissible_actions")
        return self.returns.get("admissible_actions", ["up"])  # type: ignore[no-any-return]

    def fork(self) -> Ladder:
        self.before("fork")
        return self.returns.get("fork", Ladder(self.before, **self.returns))  # type: ignore[no-any-return]

    def close(self) -> None:
        self.before("close")


Climb = Callable[..., Awaitable[Trajectory]]


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture
def climb(tokenizer: Tokenizer) -> Climb:
    engine = ScriptedEngine(ScriptedConfig(tokenizer="-", replies=("Action: up",)), tokenizer)
    builder = PromptBuilder(tokenizer, ReActStyle("Climb."))
    task = Task("ladder/0", "ladder", "train", "climb")
    identity = Identity("r", "teacher", 0, task.id, 0, task.environment, task.split, task.task_type)

    def climb(make: Callable[[], Environment], policy: EpisodePolicy | None = None, **changes: Any) -> Any:
        config = CONFIG.model_copy(update=changes)
        return roll_out(task, identity, make, engine, builder, config, policy=policy)

    return climb


@pytest.mark.parametrize("method", ["create", "reset", "step", "admissible_actions", "fork", "close"])
async def test_a_call_that_waits_holds_up_no_other_episode(climb: Climb, method: str) -> None:
    """The first episode waits in the call until the second has come to the same call."""
    here = threading.Barrier(2)

    def meet(name: str) -> None:
        if name == method:
            here.wait(LONG_S)

    acting = SelfConsistentActing(candidates=1) if method == "fork" else ConstrainedActing()
    played = await asyncio.gather(*(climb(lambda: Ladder(meet), acting=acting) for _ in range(2)))
    assert [trajectory.outcome.failure for trajectory in played] == [None, None]


@pytest.mark.parametrize("method", ["create", "reset", "step", "fork"])
async def test_a_call_that_exceeds_its_limit_is_infrastructure(climb: Climb, method: str) -> None:
    release, closed = threading.Event(), list[str]()

    def hang(name: str) -> None:
        if name == method:
            release.wait(LONG_S)
        if name == "close":
            closed.append(name)

    acting = {"acting": SelfConsistentActing(candidates=2)} if method == "fork" else {}
    policy = EpisodePolicy(create_timeout_s=0.2 if method == "create" else LONG_S)
    trajectory = await climb(lambda: Ladder(hang), policy, step_timeout_s=0.2, **acting)
    failure = Failure("environment", "TimeoutError", "no answer within 0.2 s", Cause.INFRASTRUCTURE)
    assert trajectory.outcome.failure == failure
    assert is_owed(trajectory)
    release.set()
    await wait_in_loop(lambda: len(closed) == (2 if method == "fork" else 1), "the close of what came late")


GARBAGE: Sequence[tuple[str, object, str]] = [
    ("reset", None, "Reset"),
    ("reset", Reset("A ladder.", None), "Reset"),  # type: ignore[arg-type]
    ("step", None, "Step"),
    ("step", "Up.", "Step"),
    ("step", (Step("Up."), 1.0, True, {}), "Step"),
    ("step", Step(None), "Step"),  # type: ignore[arg-type]
    ("step", Step("Up.", reward=float("nan")), "Step"),
    ("step", Step("Up.", reward="1"), "Step"),  # type: ignore[arg-type]
    ("step", Step("Up.", done=1), "Step"),  # type: ignore[arg-type]
    ("step", Step("Up.", scores={"f1": None}), "Step"),  # type: ignore[dict-item]
    ("step", Step("Up.", scores=None), "Step"),  # type: ignore[arg-type]
    ("step", Step("Up.", answer=7), "Step"),  # type: ignore[arg-type]
    ("step", Step("\ud800"), "Step"),
]


@pytest.mark.parametrize(("method", "returned", "expected"), GARBAGE)
async def test_an_answer_that_is_none_is_owed_and_told(
    climb: Climb, method: str, returned: object, expected: str
) -> None:
    trajectory = await climb(lambda: Ladder(**{method: returned}))
    failure = trajectory.outcome.failure
    assert failure is not None
    assert (failure.boundary, failure.cause, failure.type) == ("environment", Cause.SETUP, "SetupError")
    assert failure.message.startswith(f"Ladder.{method} returned ")
    assert f" instead of a valid {expected}; fix the environment" in failure.message
    assert is_owed(trajectory)


@pytest.mark.parametrize(
    ("method", "returned", "acting"),
    [
        ("admissible_actions", 5, ConstrainedActing()),
        ("admissible_actions", "up", ConstrainedActing()),
        ("admissible_actions", ["up", None], ConstrainedActing()),
        ("fork", None, SelfConsistentActing(candidates=2)),
    ],
)
async def test_an_ability_that_returns_garbage_ends_the_run_with_a_sentence(
    climb: Climb, method: str, returned: object, acting: object
) -> None:
    with pytest.raises(SetupError, match=f"^Ladder.{method} returned .* instead of a valid "):
        await climb(lambda: Ladder(**{method: returned}), acting=acting)


async def test_copies_that_cannot_be_closed_are_told_in_the_log(climb: Climb, caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str) -> None:
        if name == "close":
            raise OSError("stuck")

    acting = SelfConsistentActing(candidates=2)
    trajectory = await climb(lambda: Ladder(fail), acting=acting)
    assert trajectory.outcome.failure is None
    assert trajectory.outcome.stop_reason is StopReason.SUCCESS
    assert "did not close: OSError: stuck" in caplog.text
