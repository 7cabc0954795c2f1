"""The agent loop of one episode: generate a turn, parse it, step the environment, append the observation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal, TypeVar

from pydantic import BaseModel

from rollout.concurrency import with_timeout
from rollout.engine import Completion, Engine, RemoteEngine, Sampling
from rollout.environment import Environment, Reset, Step, Task, checked_reset, checked_step
from rollout.episode.acting import ConstrainedActing, PlainActing, SelfConsistentActing
from rollout.episode.config import AgentConfig, EpisodePolicy
from rollout.episode.constrained import allowed_actions
from rollout.episode.environment_calls import call_environment
from rollout.episode.guidance import NO_GUIDANCE, Guidance, Guide
from rollout.episode.provenance import with_provenance
from rollout.episode.replay import REPLAYED, Call, reproduces
from rollout.episode.self_consistency import close_all, step_copies, try_actions, vote
from rollout.episode.support import check_acting, reraising_user_errors
from rollout.errors import Boundary, Cause, EpisodeError, boundary, failure_of
from rollout.grammar import Grammar
from rollout.prompts.builder import PromptBuilder, Turn
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
Timer = Literal["engine_s", "environment_s"]
_BOUNDARIES: dict[Timer, Boundary] = {"engine_s": Boundary.ENGINE, "environment_s": Boundary.ENVIRONMENT}


@dataclass(slots=True)
class _State:
    """State of a running episode; it is recorded however the episode ends."""

    segments: list[Segment] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    reward: float = 0.0
    dialect: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    engine_s: float = 0.0
    environment_s: float = 0.0

    def append(self, segments: Iterable[Segment]) -> None:
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
    policy: EpisodePolicy | None = None,
    fresh: Callable[[], Environment] | None = None,
) -> Trajectory:
    """Roll out one episode of ``task`` and return its record.

    ``guide`` provides hints and a first thought. A failure of the environment or the engine ends the episode with
    `StopReason.ERROR` and is recorded with its cause. ``fresh`` makes another environment, in which the actions are
    replayed if the agent may have caused the failure; None leaves out the replay. The environment is not closed; after
    an error or the time limit it may still be busy and must not be used again.

    The time limit is a result, unless a single call of the engine or the environment took more than half of it.

    A self-consistent agent continues in a copy of the environment, which is closed at the end. ``prompt_tokens`` and
    ``output_tokens`` count all its candidates, because all of them were generated; ``steps``, ``invalid_actions`` and
    ``reason_tokens`` count the winning candidates only.

    Raises:
        UserError: the environment does not support ``config.acting``; raised before the first completion.
        EngineDied: the engine must be started again.
        Exception: only for bugs in this package.
    """
    episode = _Episode(environment, engine, builder, config, identity, policy or EpisodePolicy())
    started_unix_s, started = time.time(), time.monotonic()
    version = engine.weight_version
    stop, failure = StopReason.TIME_LIMIT, None
    limit = asyncio.timeout(config.time_limit_s)
    try:
        async with limit:
            stop = await episode.run(task, guide)
    except EpisodeError as error:
        stop, failure = StopReason.ERROR, await episode.judge(error.failure, fresh)
    except TimeoutError:
        if not limit.expired():
            raise
        if failure := episode.unanswered():
            stop = StopReason.ERROR
    finally:
        await episode.close_copy()
    times = Times(started_unix_s, time.monotonic() - started, episode.state.engine_s, episode.state.environment_s)
    return episode.record(stop, failure, times, version)


class _Episode:
    def __init__(
        self,
        environment: Environment,
        engine: Engine,
        builder: PromptBuilder,
        config: AgentConfig,
        identity: Identity,
        policy: EpisodePolicy,
    ) -> None:
        self.environment = environment
        self.copied = False
        """Whether ``environment`` is a copy made by the episode instead of the caller's environment."""
        self.engine = engine
        self.builder = builder
        self.config = config
        self.sampling = _with_stop_strings(_decoding(config), builder.style.stop)
        self.identity = identity
        self.policy = policy
        self.state = _State()
        self.first_thought = ""
        self.calls: list[Call] = []
        """Calls of the environment, for a replay; the last one is that which failed, if one did."""
        self.num_actions = 0
        self._cancelled: tuple[Timer, float] | None = None
        """The call that was cancelled, and the seconds that it had taken."""
        self._deadline = time.monotonic() + config.time_limit_s

    async def run(self, task: Task, guide: Guide | None) -> StopReason:
        """Run the agent loop. Raises `EpisodeError` for failures of the environment or the engine."""
        reset = await self._in_environment(lambda environment: checked_reset(environment, task))
        acting = self.config.acting
        if not isinstance(acting, PlainActing):
            with reraising_user_errors():
                await self._in_environment(lambda environment: check_acting(environment, acting, self.builder.style))
        guidance = NO_GUIDANCE if guide is None else await self._guidance(guide, task, reset)
        self.state.append(self.builder.start(reset, hints=guidance.hints))
        for turn in range(1, self.config.max_steps + 1):
            if time.monotonic() >= self._deadline:
                return StopReason.TIME_LIMIT
            self.first_thought = guidance.first_thought if turn == 1 else ""
            if not self._fits(prompt := self.builder.open_turn(turn, self.first_thought)):
                return StopReason.TOKEN_LIMIT
            self.state.append(prompt)
            step = await self._turn(turn)
            self.state.append(self.builder.observation(step.observation, turn))
            if step.done:
                return StopReason.SUCCESS if step.success else StopReason.FAILURE
        return StopReason.STEP_LIMIT

    def _fits(self, prompt: Sequence[Segment]) -> bool:
        """Whether a turn that begins with ``prompt`` fits the episode's token limit and the model's context."""
        num_new_tokens = sum(len(segment.token_ids) for segment in prompt) + self.config.sampling.max_tokens
        return len(self.state.token_ids) + num_new_tokens <= min(self.config.max_tokens, self.engine.max_model_len)

    async def _turn(self, turn: int) -> Step:
        """Generate a turn, append it, and execute its action."""
        acting = self.config.acting
        if isinstance(acting, SelfConsistentActing):
            return await self._try(turn, acting.candidates)
        grammar = await self._turn_grammar(acting) if isinstance(acting, ConstrainedActing) else None
        [made] = await self._ask(turn, grammar=grammar)
        self.state.append(made.segments)
        return self._count(await self._act(made.action))

    async def _ask(self, turn: int, candidates: int = 1, grammar: Grammar | None = None) -> list[Turn]:
        """Generate ``candidates`` turns for the same prompt concurrently."""
        state, prompt = self.state, tuple(self.state.token_ids)
        requests = [self._complete(prompt, turn, candidate, grammar) for candidate in range(candidates)]
        with self._timed("engine_s"), boundary(Boundary.ENGINE):
            completions = await with_timeout(self.config.step_timeout_s, _gather(requests))
        state.counts = replace(
            state.counts,
            steps=state.counts.steps + 1,
            prompt_tokens=state.counts.prompt_tokens + candidates * len(prompt),
            output_tokens=state.counts.output_tokens + sum(len(made.token_ids) for made in completions),
        )
        if self.identity.role != "teacher":  # a student's own distribution is not a training target
            completions = [replace(completion, top=None) for completion in completions]
        return [
            with_provenance(self.builder.turn(completion, turn, self.first_thought), completion, self.engine.name)
            for completion in completions
        ]

    def _complete(
        self, prompt: tuple[int, ...], turn: int, candidate: int, grammar: Grammar | None
    ) -> Awaitable[Completion]:
        key = self.identity.key
        seed = turn_seed(self.sampling.seed, key, turn, candidate)
        session = f"{key.session}/{candidate}" if candidate else key.session
        return self.engine.generate(
            prompt, self.sampling.model_copy(update={"seed": seed, "grammar": grammar}), session
        )

    async def _turn_grammar(self, acting: ConstrainedActing) -> Grammar:
        """Grammar of the next turn, without the part that the turn was opened with."""
        with reraising_user_errors():
            actions = await self._in_environment(lambda environment: allowed_actions(environment, acting.to))
            return self.builder.turn_grammar(actions, self.first_thought)

    async def _try(self, turn: int, candidates: int) -> Step:
        """Generate several turns, append the one whose action wins the vote, and continue in its copy."""
        answers = await self._ask(turn, candidates)
        actions = [answer.action for answer in answers]
        self.calls.append(lambda environment: step_copies(environment, actions))
        self.num_actions += 1
        with self._timed("environment_s"), boundary(Boundary.ENVIRONMENT):
            trials = await try_actions(
                self.environment, actions, self.config.step_timeout_s, self.policy.close_timeout_s
            )
            number = vote([None if trial is None else trial.step for trial in trials])
            unused = [trial.environment for trial in trials if trial is not None]
            if (winner := trials[number]) is not None:
                unused = [environment for environment in unused if environment is not winner.environment]
                unused += [self.environment] if self.copied else []
                self.environment, self.copied = winner.environment, True
            await close_all(unused, self.policy.close_timeout_s)
        self.state.append(answers[number].segments)
        del self.calls[-1]
        if (action := actions[number]) is not None:
            self.calls.append(lambda environment: checked_step(environment, action))
        return self._count(await self._act(None) if winner is None else winner.step)

    async def close_copy(self) -> None:
        """Close the environment if it is a copy made by the episode."""
        if self.copied:
            await close_all([self.environment], self.policy.close_timeout_s)

    async def _guidance(self, guide: Guide, task: Task, reset: Reset) -> Guidance:
        with self._timed("engine_s"), boundary(Boundary.ENGINE):
            return await with_timeout(self.config.step_timeout_s, guide(task, reset))

    async def _act(self, action: str | None) -> Step:
        """Execute the action; a turn without an action gets the style's ``no_action`` observation."""
        if action is None:
            return Step(self.builder.style.no_action, valid=False)
        self.num_actions += 1
        return await self._in_environment(lambda environment: checked_step(environment, action))

    def _count(self, step: Step) -> Step:
        state = self.state
        state.reward += step.reward
        state.dialect = step.dialect or state.dialect
        state.scores |= step.scores
        state.counts = replace(state.counts, invalid_actions=state.counts.invalid_actions + (not step.valid))
        return step

    async def _in_environment(self, call: Callable[[Environment], T]) -> T:
        self.calls.append(call)
        with self._timed("environment_s"), boundary(Boundary.ENVIRONMENT):
            return await call_environment(self.environment, call, self.config.step_timeout_s)

    @contextmanager
    def _timed(self, name: Timer) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            self._cancelled = name, time.monotonic() - started
            raise
        finally:
            setattr(self.state, name, getattr(self.state, name) + time.monotonic() - started)

    def unanswered(self) -> Failure | None:
        """The failure of a call that was cancelled at the time limit after more than half of it."""
        if self._cancelled is None or self._cancelled[1] <= self.config.time_limit_s / 2:
            return None
        name, seconds = self._cancelled
        error = TimeoutError(f"no answer within {seconds:.3g} s, when the time of the episode was up")
        return failure_of(error, _BOUNDARIES[name])

    async def judge(self, failure: Failure, fresh: Callable[[], Environment] | None) -> Failure:
        """Replace the cause of a failure by the agent if its actions reproduce it in a fresh environment."""
        if fresh is None or failure.cause not in REPLAYED or not self.num_actions:
            return failure
        try:
            async with asyncio.timeout(self.config.time_limit_s):
                is_agents = await reproduces(failure, self.calls, fresh, self.config.step_timeout_s, self.policy)
        except TimeoutError:
            return failure
        return replace(failure, cause=Cause.AGENT) if is_agents else failure

    def record(self, stop: StopReason, failure: Failure | None, times: Times, weight_version: int) -> Trajectory:
        state = self.state
        reasons = (s for s in state.segments if s.kind is Kind.REASON and s.author is Author.MODEL)
        return Trajectory(
            identity=replace(self.identity, dialect=state.dialect or self.identity.dialect),
            policy=Policy(
                model=self.engine.name,
                weight_version=weight_version,
                prompt_style=self.builder.style.name,
                sampling_json=_sampling_json(self.sampling, self.engine),
                method_json=_to_json(self.config, exclude={"sampling", "style", *self._not_used()}),
                template_digest=self.builder.template_digest,
            ),
            outcome=Outcome(state.reward, stop is StopReason.SUCCESS, stop, failure, state.scores),
            segments=tuple(state.segments),
            counts=replace(state.counts, reason_tokens=sum(len(s.token_ids) for s in reasons)),
            times=times,
        )

    def _not_used(self) -> set[str]:
        """Settings that are left out of the record: without effect on this agent, or recorded by a digest."""
        plain = {"chat_template", "date"} | ({"acting"} if isinstance(self.config.acting, PlainActing) else set())
        return plain if self.config.style == "codeact" else {*plain, "sandbox", "tools"}


def _decoding(config: AgentConfig) -> Sampling:
    """Sampling settings of the agent, overridden by those of its acting method."""
    if not isinstance(config.acting, SelfConsistentActing):
        return config.sampling
    own = {"temperature": config.acting.temperature, "top_p": config.acting.top_p}
    return config.sampling.model_copy(update=own)


def _with_stop_strings(sampling: Sampling, stop: tuple[str, ...]) -> Sampling:
    """Add stop strings to the sampling settings."""
    return sampling.model_copy(update={"stop": tuple(dict.fromkeys((*sampling.stop, *stop)))}) if stop else sampling


def turn_seed(base: int | None, key: Key, turn: int, candidate: int = 0) -> int:
    """Sampling seed of one completion, in [0, 2**31), stable across processes.

    It differs between tasks, attempts, turns and candidates; candidate 0 has the seed of a plain agent's completion.
    """
    text = "\n".join(map(str, (base, key.task, key.attempt, turn, *([candidate] if candidate else []))))
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") >> 1


async def _gather(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await all concurrently; if one fails, cancel the others."""
    waiting = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*waiting)
    finally:
        for future in waiting:
            future.cancel()


def _sampling_json(sampling: Sampling, engine: Engine) -> str:
    """Sampling settings, and under ``sent`` what an engine that has settings of its own was sent for them."""
    sent = {"sent": engine.sent(sampling)} if isinstance(engine, RemoteEngine) else {}
    return _canonical({**sampling.model_dump(mode="json"), **sent})


def _to_json(settings: BaseModel, exclude: set[str]) -> str:
    return _canonical(settings.model_dump(mode="json", exclude=exclude))


def _canonical(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))
