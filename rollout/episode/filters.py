"""Which finished episodes are fit to train on: plain questions to a `Trajectory`, and settings that combine them.

Sources: hint distillation (arXiv 2510.01375) keeps successes, or a score of 67 and more in the shop, and drops episodes
with more than two invalid actions or with repeated actions that do nothing. Agent Distillation (arXiv 2505.17612) keeps
successes without a turn that could not be read and without a forced end; code that failed to run stays in.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from rollout.frozen_model import FrozenModel
from rollout.prompts.style import SharedWords
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.turns import completed_turns

_LIMITS = frozenset({StopReason.STEP_LIMIT, StopReason.TOKEN_LIMIT, StopReason.TIME_LIMIT})


class KeepConfig(FrozenModel):
    """Which episodes become training data. The default keeps every success."""

    success: bool = True
    """Only episodes that solved their task."""
    min_reward: float | None = None
    """Beside those, episodes whose reward is at least this (in the shop, where rewards go from 0 to 1)."""
    max_invalid_actions: int | None = Field(None, ge=0)
    """Turns whose action was missing or was refused; None does not count them."""
    max_repeats: int | None = Field(None, ge=0)
    """Turns that do again what the turn before did, and get the same answer; None does not count them."""
    max_no_ops: int | None = Field(None, ge=0)
    """Turns that are answered by ``Nothing happens.``; None does not count them."""
    allow_parse_errors: bool = True
    """Keep episodes with a turn in which no action could be found."""
    allow_limits: bool = True
    """Keep episodes that a limit of steps, tokens or time has ended."""

    @model_validator(mode="after")
    def _check(self) -> KeepConfig:
        if self.min_reward is not None and not self.success:
            raise ValueError("min_reward is read with success: true only; set success: true or leave min_reward out")
        return self


def why_dropped(config: KeepConfig, trajectory: Trajectory) -> str | None:
    """The first reason against the episode, a few words; None if it is kept. Needs the segments, not a summary."""
    if config.success and not is_solved(trajectory, config.min_reward):
        return "not solved"
    if not config.allow_limits and hit_a_limit(trajectory):
        return "ended by a limit"
    if not config.allow_parse_errors and count_parse_errors(trajectory):
        return "a turn without an action"
    if _over(trajectory.counts.invalid_actions, config.max_invalid_actions):
        return "invalid actions"
    if config.max_repeats is not None and _over(count_repeats(trajectory), config.max_repeats):
        return "repeated actions"
    if config.max_no_ops is not None and _over(count_no_ops(trajectory), config.max_no_ops):
        return "actions that do nothing"
    return None


def is_solved(trajectory: Trajectory, min_reward: float | None = None) -> bool:
    """Success, or a reward of at least ``min_reward`` if one is given."""
    outcome = trajectory.outcome
    return outcome.success or (min_reward is not None and outcome.reward >= min_reward)


def hit_a_limit(trajectory: Trajectory) -> bool:
    """A limit of steps, tokens or time has ended it."""
    return trajectory.outcome.stop_reason in _LIMITS


def count_parse_errors(trajectory: Trajectory) -> int:
    """Turns without an ``act`` by the model."""
    return sum(turn.action is None for turn in completed_turns(trajectory))


def count_repeats(trajectory: Trajectory) -> int:
    """Turns whose action and answer are those of the turn before."""
    turns = pairwise(completed_turns(trajectory))
    return sum((a.action, a.observation.strip()) == (b.action, b.observation.strip()) for a, b in turns)


def count_no_ops(trajectory: Trajectory) -> int:
    """Turns that are answered by ``Nothing happens.``."""
    return sum(turn.observation.strip() == SharedWords.no_action for turn in completed_turns(trajectory))


def _over(count: int, most: int | None) -> bool:
    return most is not None and count > most
