"""Configs of the acting methods, discriminated by ``type``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rollout.frozen_model import FrozenModel

MAX_CANDIDATES = 64


class PlainActing(FrozenModel):
    """One completion per turn, greedy or sampled according to the agent's ``sampling``."""

    type: Literal["plain"] = "plain"


class SelfConsistentActing(FrozenModel):
    """Several completions per turn. Each is tried in a copy of the environment, and the most frequent outcome wins.

    Source: Agent Distillation's self-consistent action generation (arXiv 2505.17612), whose defaults these are.
    """

    type: Literal["self_consistent"] = "self_consistent"
    candidates: int = 8
    """Completions per turn. The episode counts the tokens of all of them."""
    temperature: float = Field(0.4, ge=0.0, le=10.0)
    """Sampling temperature of the candidates, in place of the agent's ``sampling.temperature``."""
    top_p: float = Field(0.8, gt=0.0, le=1.0)
    """Nucleus sampling of the candidates, in place of the agent's ``sampling.top_p``."""

    @field_validator("candidates")
    @classmethod
    def _check(cls, candidates: int) -> int:
        if not 1 <= candidates <= MAX_CANDIDATES:
            raise ValueError(
                f"candidates is {candidates}, but from 1 to {MAX_CANDIDATES} completions can be tried in a turn; "
                "the paper uses 8"
            )
        return candidates


class ConstrainedActing(FrozenModel):
    """One completion per turn, constrained by a grammar to turns of the agent's style with an allowed action."""

    type: Literal["constrained"] = "constrained"
    to: Literal["admissible", "grammar"] = "admissible"
    """``admissible``: one of the actions that the environment currently allows. ``grammar``: an action that matches the
    environment's action templates, or any line if it has none."""


Acting = Annotated[PlainActing | SelfConsistentActing | ConstrainedActing, Field(discriminator="type")]
