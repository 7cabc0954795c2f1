"""One episode: ask the engine, cut its answer, do the action, show what happened, until something ends it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rollout.engine import Completion, Engine, Sampling
from rollout.environment import Environment, Reset, Step, Task
from rollout.errors import Boundary, EpisodeError, boundary
from rollout.guidance import NONE, Guidance, Guide
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.styles import StyleName
from rollout.sandbox.config import SandboxConfig
from rollout.threads import in_thread
from rollout.trajectory import (
    Author,
    Counts,
    Failure,
    Identity,
    Key,
    Kind,
    Outcome,
    Policy,
    Segment,
    StopReason,
    Times,
    Trajectory,
)

T = TypeVar("T")


class AgentConfig(BaseModel):
    """How an agent is prompted, and how far one episode may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: StyleName = "react"
    """How a turn is written: thought and action, action alone, state and thought and action, thought and code, or an
    answer after a chain of thought."""
    instructions: str = "short"
    """Which of the environment's system messages: ``short``, or ``full`` with the grammar of its actions."""
    examples: int = Field(0, ge=0)
    """Worked episodes shown before the task."""
    max_steps: int = Field(30, ge=1)
    """Turns, those without a valid action included."""
    max_tokens: int = Field(4000, ge=1)
    """Tokens of the whole episode: prompt, answers and observations. No turn starts that could go beyond."""
    time_limit_s: float = Field(600.0, gt=0)
    """Seconds for the whole episode."""
    step_timeout_s: float = Field(120.0, gt=0)
    """Seconds for one answer of the engine, and for one step of the environment."""
    sampling: Sampling = Sampling()
    sandbox: SandboxConfig = SandboxConfig()
    """Where code runs that the agent writes (style ``codeact``)."""


@dataclass(slots=True)
class _Progress:
    """What an episode has gathered so far; whatever ends it, this much is recorded."""

    segments: list[Segment] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    reward: float = 0.0
    dialect: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    engine_s: float = 0.0
    environment_s: float = 0.0

    def show(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self.segments.append(segment)
            self.token_ids.extend(segment.token_ids)


async def run_episode(
    task: Task,
    environment: Environment,
    engine: Engine,
    builder: PromptBuilder,
    config: AgentConfig,
    identity: Identity,
    *,
    guide: Guide | None = None,
) -> Trajectory:
    """Play ``task`` once and give the record of it, whatever happens.

    ``guide`` gives hints and a first thought, if the agent gets any. What fails in the environment or the engine ends
    the episode with `StopReason.ERROR` and is on the record. The environment is left as it is; after an error or the
    time limit it may still be busy and should not be used again.

    Raises:
        Exception: only for bugs of our own.
    """
    episode = _Episode(environment, engine, builder, config, identity)
    started_unix_s, started = time.time(), time.monotonic()
    version = engine.weight_version
    stop, failure = StopReason.TIME_LIMIT, None
    limit = asyncio.timeout(config.time_limit_s)
    try:
        async with limit:
            stop = await episode.play(task, guide)
    except EpisodeError as error:
        stop, failure = StopReason.ERROR, error.failure
    except TimeoutError:
        if not limit.expired():
            raise
    times = Times(started_unix_s, time.monotonic() - started, episode.so_far.engine_s, episode.so_far.environment_s)
    return episode.record(stop, failure, times, version)


class _Episode:
    def __init__(
        self, environment: Environment, engine: Engine, builder: PromptBuilder, config: AgentConfig, identity: Identity
    ) -> None:
        self.environment = environment
        self.engine = engine
        self.builder = builder
        self.config = config
        self.sampling = _stopping(config.sampling, builder.style.stop)
        self.identity = identity
        self.so_far = _Progress()
        self.first_thought = ""
        self._deadline = time.monotonic() + config.time_limit_s

    async def play(self, task: Task, guide: Guide | None) -> StopReason:
        """The loop. Raises `EpisodeError` for failures of the world."""
        reset = await self._in_environment(self.environment.reset, task)
        guidance = NONE if guide is None else await self._guidance(guide, task, reset)
        self.so_far.show(self.builder.start(reset, hints=guidance.hints))
        for turn in range(1, self.config.max_steps + 1):
            if time.monotonic() >= self._deadline:
                return StopReason.TIME_LIMIT
            self.first_thought = guidance.first_thought if turn == 1 else ""
            if not self._fits(prompt := self.builder.open_turn(turn, self.first_thought)):
                return StopReason.TOKEN_LIMIT
            self.so_far.show(prompt)
            action = await self._ask(turn)
            step = await self._act(action)
            self.so_far.show(self.builder.observation(step.observation, turn))
            if step.done:
                return StopReason.SUCCESS if step.success else StopReason.FAILURE
        return StopReason.STEP_LIMIT

    def _fits(self, prompt: Sequence[Segment]) -> bool:
        """Whether a turn that begins with ``prompt`` stays within the episode's tokens and the model's context."""
        coming = sum(len(segment.token_ids) for segment in prompt) + self.config.sampling.max_tokens
        return len(self.so_far.token_ids) + coming <= min(self.config.max_tokens, self.engine.max_model_len)

    async def _ask(self, turn: int) -> str | None:
        """One answer of the engine, put on the record; gives its action."""
        so_far, key = self.so_far, self.identity.key
        sampling = self.sampling.model_copy(update={"seed": turn_seed(self.sampling.seed, key, turn)})
        with self._timed("engine_s"), boundary(Boundary.ENGINE):
            completion: Completion = await _within(
                self.config.step_timeout_s,
                self.engine.generate(tuple(so_far.token_ids), sampling, key.session),
            )
        if self.identity.role != "teacher":  # a student's own distribution is no teaching signal
            completion = replace(completion, top=None)
        prompt_tokens = len(so_far.token_ids)
        made = self.builder.turn(completion, turn, self.first_thought)
        so_far.show(made.segments)
        so_far.counts = replace(
            so_far.counts,
            steps=so_far.counts.steps + 1,
            prompt_tokens=so_far.counts.prompt_tokens + prompt_tokens,
            output_tokens=so_far.counts.output_tokens + len(completion.token_ids),
        )
        return made.action

    async def _guidance(self, guide: Guide, task: Task, reset: Reset) -> Guidance:
        with self._timed("engine_s"), boundary(Boundary.ENGINE):
            return await _within(self.config.step_timeout_s, guide(task, reset))

    async def _act(self, action: str | None) -> Step:
        """Do the action; an answer without one is met by the style's own observation."""
        if action is None:
            step = Step(self.builder.style.no_action, valid=False)
        else:
            step = await self._in_environment(self.environment.step, action)
        so_far = self.so_far
        so_far.reward += step.reward
        so_far.dialect = step.dialect or so_far.dialect
        so_far.scores |= step.scores
        so_far.counts = replace(so_far.counts, invalid_actions=so_far.counts.invalid_actions + (not step.valid))
        return step

    async def _in_environment(self, function: Callable[..., T], argument: object) -> T:
        """A call of the environment: in a thread if it says that it blocks, else at once."""
        with self._timed("environment_s"), boundary(Boundary.ENVIRONMENT):
            if getattr(self.environment, "blocking", False):
                return await _within(self.config.step_timeout_s, in_thread(function, argument))
            return function(argument)

    @contextmanager
    def _timed(self, name: Literal["engine_s", "environment_s"]) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            setattr(self.so_far, name, getattr(self.so_far, name) + time.monotonic() - started)

    def record(self, stop: StopReason, failure: Failure | None, times: Times, weight_version: int) -> Trajectory:
        so_far = self.so_far
        reasons = (s for s in so_far.segments if s.kind is Kind.REASON and s.author is Author.MODEL)
        return Trajectory(
            identity=replace(self.identity, dialect=so_far.dialect or self.identity.dialect),
            policy=Policy(
                model=self.engine.name,
                weight_version=weight_version,
                prompt_style=self.builder.style.name,
                sampling_json=_canonical(self.sampling),
                method_json=_canonical(self.config, exclude={"sampling", "style", *self._not_used()}),
            ),
            outcome=Outcome(so_far.reward, stop is StopReason.SUCCESS, stop, failure, so_far.scores),
            segments=tuple(so_far.segments),
            counts=replace(so_far.counts, reason_tokens=sum(len(s.token_ids) for s in reasons)),
            times=times,
        )

    def _not_used(self) -> set[str]:
        """Settings that this agent's style has no use for."""
        return set() if self.config.style == "codeact" else {"sandbox"}


def _stopping(sampling: Sampling, stop: tuple[str, ...]) -> Sampling:
    """The same, ending turns at these texts as well."""
    return sampling.model_copy(update={"stop": tuple(dict.fromkeys((*sampling.stop, *stop)))}) if stop else sampling


def turn_seed(base: int | None, key: Key, turn: int) -> int:
    """Sampling seed of one turn, in [0, 2**31): the same in every process, different for every task, attempt, turn."""
    text = "\n".join(map(str, (base, key.task, key.attempt, turn)))
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") >> 1


async def _within(seconds: float, awaitable: Awaitable[T]) -> T:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def _canonical(settings: BaseModel, exclude: set[str] | None = None) -> str:
    return json.dumps(settings.model_dump(mode="json", exclude=exclude), sort_keys=True, separators=(",", ":"))
