"""Several actions tried at once, each in a copy of the world, so that none of them can disturb another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rollout.concurrency import close_in_thread, in_thread, within
from rollout.environment import Environment, Step, fork_of, is_blocking

T = TypeVar("T")
_AT_ONCE = 8
"""Copies of one world that are busy at the same time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A copy of the world after an action. Whoever holds it closes the copy."""

    world: Environment
    step: Step


async def try_actions(
    world: Environment, actions: Sequence[str | None], timeout_s: float, close_timeout_s: float
) -> list[Trial | None]:
    """Do each action in a copy of its own, as many at once as is good for the machine; the world stays as it is.

    A trial is None where there is no action.

    Args:
        world: must not be used meanwhile.
        actions: one a candidate.
        timeout_s: for making the copies, and for each step.
        close_timeout_s: for closing each copy after an error.

    Raises:
        UserError: the world cannot be copied.
        TimeoutError: a step took too long.
        Exception: what a step raised. All copies are then closed.
    """
    blocking, copies = is_blocking(world), list[Environment]()
    room = asyncio.Semaphore(_AT_ONCE)

    def copy_all() -> None:
        for action in actions:
            if action is not None:
                copies.append(fork_of(world))

    async def try_one(copy: Environment, action: str) -> Trial:
        async with room:
            return Trial(copy, await _call(blocking, timeout_s, lambda: copy.step(action)))

    try:
        await _call(blocking, timeout_s, copy_all)
        waiting = iter(copies)
        trials = [None if action is None else try_one(next(waiting), action) for action in actions]
        done = await asyncio.gather(*(trial for trial in trials if trial is not None), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error
    except BaseException:
        await close_all(copies, close_timeout_s)
        raise
    made = iter(done)
    return [None if action is None else next(made) for action in actions]  # type: ignore[misc]  # errors are raised


async def close_all(worlds: Iterable[Environment], timeout_s: float) -> None:
    """Close copies; one that blocks and does not close within ``timeout_s`` is left behind and named in the log."""
    worlds = list(worlds)
    for world in worlds:
        if not is_blocking(world):
            world.close()
    await asyncio.gather(*(close_in_thread(world, timeout_s) for world in worlds if is_blocking(world)))


async def _call(blocking: bool, timeout_s: float, function: Callable[[], T]) -> T:
    return await within(timeout_s, in_thread(function)) if blocking else function()


def outcome(step: Step) -> tuple[bool, str]:
    """What a step is compared by: the answer that it gave, else what was observed.

    An answer's observation would tell which candidates are right, and a vote must not know that.
    """
    return (False, step.observation) if step.answer is None else (True, step.answer.strip())


def vote(tried: Sequence[Step | None]) -> int:
    """The number of the winner among candidates; None stands for one that wrote no action.

    The most frequent outcome of the valid steps wins, and of several that are as frequent the one that occurs first;
    its first candidate is given. Without a valid step it is the first that was tried, so that its error is told, and if
    none was tried the first of all.

    Source: Agent Distillation (arXiv 2505.17612), whose own code compares printed text only, so that answers which
    print nothing are all alike there.
    """
    valid = [number for number, step in enumerate(tried) if step is not None and step.valid]
    if not valid:
        return next((number for number, step in enumerate(tried) if step is not None), 0)
    outcomes = [outcome(step) for number in valid if (step := tried[number]) is not None]
    # Counter keeps the order of first occurrence, and so does most_common among equals.
    winner, _ = Counter(outcomes).most_common(1)[0]
    return valid[outcomes.index(winner)]
