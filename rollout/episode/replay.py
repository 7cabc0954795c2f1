"""Replays the actions of a failed episode in a fresh environment, to find out whether the agent caused the failure."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rollout.concurrency import close_in_thread
from rollout.environment import Environment
from rollout.episode.config import EpisodePolicy
from rollout.episode.environment_calls import call_environment, create_environment
from rollout.errors import Boundary, Cause, EpisodeError, Failure, boundary

Call: TypeAlias = Callable[[Environment], Any]
"""A call of an environment that can be made again in another one."""

REPLAYED = frozenset({Cause.ENVIRONMENT, Cause.TOOL})
"""Causes of failures that the agent's input may explain."""
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")
_log = logging.getLogger(__name__)


async def reproduces(
    failure: Failure, calls: Sequence[Call], fresh: Callable[[], Environment], timeout_s: float, policy: EpisodePolicy
) -> bool:
    """Whether the last of ``calls`` fails as recorded in a fresh environment in which all calls before it succeed.

    Two failures are the same if component, type and message are, apart from numbers in the message.

    Args:
        failure: the recorded failure.
        calls: the calls of the episode, in order.
        fresh: makes the environment, which is closed at the end.
        timeout_s: limit for each call.
        policy: limits for creating and closing it.
    """
    environment: Environment | None = None
    done = 0
    try:
        with boundary(Boundary.ENVIRONMENT):
            environment = await create_environment(fresh, policy.create_timeout_s)
            for call in calls:
                await call_environment(environment, call, timeout_s)
                done += 1
    except EpisodeError as error:
        is_same = done == len(calls) - 1 and _signature(error.failure) == _signature(failure)
        _log.info("replay of %s: call %d of %d failed: %s", _signature(failure), done + 1, len(calls), error)
        return is_same
    finally:
        if environment is not None:
            await close_in_thread(environment, policy.close_timeout_s)
    return False


def _signature(failure: Failure) -> tuple[str, str, str]:
    return failure.boundary, failure.type, _NUMBER.sub("0", failure.message)
