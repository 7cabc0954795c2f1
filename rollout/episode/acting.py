"""The ways of acting that an agent's settings can name by ``type``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rollout.frozen_model import FrozenModel

MAX_CANDIDATES = 64


class PlainActing(FrozenModel):
    """One completion a turn, greedy or sampled as the agent's ``sampling`` says."""

    type: Literal["plain"] = "plain"


class SelfConsistentActing(FrozenModel):
    """Several completions a turn; each is tried in a copy of the world, and the outcome that most of them have wins.

    Source: Agent Distillation's self-consistent action generation (arXiv 2505.17612), whose defaults these are.
    """

    type: Literal["self_consistent"] = "self_consistent"
    candidates: int = 8
    """Completions a turn. All their tokens count as the episode's."""
    temperature: float = Field(0.4, ge=0.0, le=10.0)
    """Of the candidates, in place of the agent's ``sampling.temperature``."""
    top_p: float = Field(0.8, gt=0.0, le=1.0)
    """Of the candidates, in place of the agent's ``sampling.top_p``."""

    @field_validator("candidates")
    @classmethod
    def _check(cls, candidates: int) -> int:
        if not 1 <= candidates <= MAX_CANDIDATES:
            raise ValueError(
                f"candidates is {candidates}, but from 1 to {MAX_CANDIDATES} completions can be tried in a turn; "
                "8 is what the paper takes"
            )
        return candidates


class ConstrainedActing(FrozenModel):
    """One completion a turn, and the model can write nothing but a turn of the agent's style with such an action."""

    type: Literal["constrained"] = "constrained"
    to: Literal["admissible", "grammar"] = "admissible"
    """``admissible``: one of the actions that the environment allows now. ``grammar``: an action that is written as the
    environment's are, or any line if it does not say how."""


Acting = Annotated[PlainActing | SelfConsistentActing | ConstrainedActing, Field(discriminator="type")]
