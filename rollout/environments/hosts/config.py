"""Settings of the processes that host environments."""

from __future__ import annotations

from pydantic import Field

from rollout.frozen_model import FrozenModel


class HostPolicy(FrozenModel):
    """Host processes of one environment in one worker. Each runs several environments, each in a thread of its own."""

    max_environments: int = Field(8, ge=1)
    """Environments at the same time in one host; further ones start another host."""
    recycle_after_episodes: int = Field(200, ge=1)
    """Episodes after which a host starts no further ones and is replaced."""
    max_leaked_calls: int = Field(3, ge=1)
    """Calls of a host that still run after their limit, at which it is replaced."""
    answer_timeout_s: float = Field(10.0, gt=0.0)
    """Seconds for a sign of life from a host that exceeded the limit of a call; without one it is killed."""
