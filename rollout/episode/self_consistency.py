"""Tries several actions concurrently, each in its own copy of the environment, and votes on their outcomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from rollout.concurrency import ENVIRONMENT_THREADS, close_in_thread, close_or_warn
from rollout.environment import Environment, Step, checked_step, fork_of
from rollout.episode.environment_calls import call_environment

_MAX_CONCURRENT = 8
"""Upper bound on copies of one environment that are stepped concurrently."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A copy of the environment after an action. The owner of the trial closes the copy."""

    environment: Environment
    step: Step


async def try_actions(
    environment: Environment, actions: Sequence[str | None], timeout_s: float, close_timeout_s: float
) -> list[Trial | None]:
    """Execute each action in its own copy, with bounded concurrency. The environment itself is unchanged.

    The trial of a missing action is None.

    Args:
        environment: the environment to copy; it must not be used meanwhile.
        actions: one action per candidate; None for a candidate without one.
        timeout_s: limit for making the copies, and for each step.
        close_timeout_s: limit for closing each copy after an error.

    Raises:
        UserError: the environment cannot be copied.
        TimeoutError: a step took too long.
        Exception: an exception of a step. All copies are closed before it is raised.
    """
    copies = list[Environment]()
    semaphore = asyncio.Semaphore(_MAX_CONCURRENT)

    def copy_all() -> None:
        for action in actions:
            if action is not None:
                copies.append(fork_of(environment))

    def close_late(_: None) -> None:
        for copy in copies:
            close_or_warn(copy)

    async def try_action(copy: Environment, action: str) -> Trial:
        async with semaphore:
            return Trial(copy, await call_environment(copy, lambda copy: checked_step(copy, action), timeout_s))

    try:
        await ENVIRONMENT_THREADS.run(copy_all, timeout_s=timeout_s, discard=close_late)
        waiting = iter(copies)
        trials = [None if action is None else try_action(next(waiting), action) for action in actions]
        results = await asyncio.gather(*(trial for trial in trials if trial is not None), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
    except BaseException:
        await close_all(copies, close_timeout_s)
        raise
    successful = iter(results)
    return [None if action is None else next(successful) for action in actions]  # type: ignore[misc]  # errors were raised above


def step_copies(environment: Environment, actions: Sequence[str | None]) -> None:
    """Execute each action in its own copy, one after the other, as a replay of `try_actions`."""
    for action in actions:
        if action is not None:
            with closing(fork_of(environment)) as copy:
                checked_step(copy, action)


async def close_all(environments: Iterable[Environment], timeout_s: float) -> None:
    """Close copies; one that cannot be closed is abandoned with a warning in the log."""
    await asyncio.gather(*(close_in_thread(environment, timeout_s) for environment in environments))


def outcome(step: Step) -> tuple[bool, str]:
    """Key by which a vote compares steps: the submitted answer, else the observation.

    The observation after an answer would reveal which candidates are right, and a vote must not use that.
    """
    return (False, step.observation) if step.answer is None else (True, step.answer.strip())


def vote(tried: Sequence[Step | None]) -> int:
    """Return the index of the winning candidate. A step of None belongs to a candidate without an action.

    The most frequent outcome of the valid steps wins; ties go to the outcome that occurs first. The winner is the first
    candidate with that outcome. Without a valid step, it is the first candidate with an action, so that the agent sees
    its error; if there is none, the first candidate.

    Source: Agent Distillation (arXiv 2505.17612). Its code compares printed text only, so that all answers that print
    nothing are equal there.
    """
    valid = [number for number, step in enumerate(tried) if step is not None and step.valid]
    if not valid:
        return next((number for number, step in enumerate(tried) if step is not None), 0)
    outcomes = [outcome(step) for number in valid if (step := tried[number]) is not None]
    # Counter keeps the order of first occurrence, and most_common is stable.
    winner, _ = Counter(outcomes).most_common(1)[0]
    return valid[outcomes.index(winner)]
