"""Filters that select the episodes for training, and their settings.

Sources: hint distillation (arXiv 2510.01375) keeps successes, or scores of at least 67 in WebShop, and drops episodes
with more than two invalid actions or with repeated actions without effect. Agent Distillation (arXiv 2505.17612) keeps
successes without parse errors and without a limit reached; turns whose code failed are kept.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from rollout.frozen_model import FrozenModel
from rollout.prompts.style import BaseStyle
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.turns import completed_turns

_LIMITS = frozenset({StopReason.STEP_LIMIT, StopReason.TOKEN_LIMIT, StopReason.TIME_LIMIT})


class KeepConfig(FrozenModel):
    """Selects the episodes that become training data. The default keeps every success."""

    success: bool = True
    """Keep only episodes that solved their task."""
    min_reward: float | None = None
    """Also keep episodes with at least this reward (for WebShop, whose rewards are in [0, 1])."""
    max_invalid_actions: int | None = Field(None, ge=0)
    """Upper bound on turns whose action was missing or refused; None is no bound."""
    max_repeats: int | None = Field(None, ge=0)
    """Upper bound on turns that repeat action and observation of the turn before; None is no bound."""
    max_no_ops: int | None = Field(None, ge=0)
    """Upper bound on turns with the observation ``Nothing happens.``; None is no bound."""
    allow_parse_errors: bool = True
    """Keep episodes with turns without an action."""
    allow_limits: bool = True
    """Keep episodes that were ended by a step, token or time limit."""

    @model_validator(mode="after")
    def _check(self) -> KeepConfig:
        if self.min_reward is not None and not self.success:
            raise ValueError(
                "min_reward has an effect only with success: true; set success: true or leave min_reward out"
            )
        return self


def why_dropped(config: KeepConfig, trajectory: Trajectory) -> str | None:
    """First reason to drop the episode, in a few words; None if it is kept. Needs the segments, not a summary."""
    if config.success and not is_solved(trajectory, config.min_reward):
        return "not solved"
    if not config.allow_limits and hit_limit(trajectory):
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
    """Whether the episode is a success, or has a reward of at least ``min_reward``."""
    outcome = trajectory.outcome
    return outcome.success or (min_reward is not None and outcome.reward >= min_reward)


def hit_limit(trajectory: Trajectory) -> bool:
    """Whether a step, token or time limit ended the episode."""
    return trajectory.outcome.stop_reason in _LIMITS


def count_parse_errors(trajectory: Trajectory) -> int:
    """Number of turns without an ``act`` segment of the model."""
    return sum(turn.action is None for turn in completed_turns(trajectory))


def count_repeats(trajectory: Trajectory) -> int:
    """Number of turns that repeat action and observation of the turn before."""
    turns = pairwise(completed_turns(trajectory))
    return sum((a.action, a.observation.strip()) == (b.action, b.observation.strip()) for a, b in turns)


def count_no_ops(trajectory: Trajectory) -> int:
    """Number of turns with the observation ``Nothing happens.``."""
    return sum(turn.observation.strip() == BaseStyle.no_action for turn in completed_turns(trajectory))


def _over(count: int, most: int | None) -> bool:
    return most is not None and count > most
