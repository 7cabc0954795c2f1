"""Settings of hints: how they are written, kept and chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rollout.engine import Sampling
from rollout.frozen_model import FrozenModel


class RulesWriter(FrozenModel):
    """Hints by rules of the environment: no model is asked."""

    by: Literal["rules"] = "rules"


class ModelWriter(FrozenModel):
    """Hints by a model that reads what went wrong."""

    by: Literal["llm"] = "llm"
    sampling: Sampling = Sampling(max_tokens=512)
    """Of one answer; its stop texts, if any, must not cut the JSON short."""
    retries: int = Field(2, ge=0, le=5)
    """How often it is asked again, with what was wrong, before an episode is given up."""
    timeout_s: float = Field(120.0, gt=0)
    """Seconds for one answer."""


Writer = Annotated[RulesWriter | ModelWriter, Field(discriminator="by")]


class HintConfig(FrozenModel):
    """Advice that is shown at the start of an episode."""

    k: int = Field(3, ge=0, le=32)
    """Hints an episode; 0 shows none."""
    bank: str | None = None
    """File of a bank, ``.parquet`` or ``.jsonl``; None makes one from failed episodes."""
    writer: Writer = RulesWriter()
    """Who writes the hints of a bank that is made."""
    max_hints_per_episode: int = Field(4, ge=1, le=16)
    """Hints that one failed episode may give."""
    max_hint_characters: int = Field(120, ge=40, le=1000)
    """Longer hints are refused."""
    dedupe_above: float = Field(0.85, gt=0.0, le=1.0)
    """Hints of one type of task whose texts are more alike than this are one; 1 merges equal texts only."""
    retriever: Literal["lexical", "llm"] = "lexical"
    """What chooses the hints: words shared with task and first observation, or a model that is shown them all."""
    ranking_sampling: Sampling = Sampling(max_tokens=96)
    """Of that model's answer."""
    ranking_timeout_s: float = Field(120.0, gt=0)
    """Seconds for that answer."""
