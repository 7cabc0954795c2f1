"""Settings for writing, storing and retrieving hints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rollout.engine import Sampling
from rollout.frozen_model import FrozenModel


class RulesWriter(FrozenModel):
    """Write hints by the rules of the environment, without a model."""

    by: Literal["rules"] = "rules"


class ModelWriter(FrozenModel):
    """Write hints by a model that reads the failed episode."""

    by: Literal["llm"] = "llm"
    sampling: Sampling = Sampling(max_tokens=512)
    """Sampling of one answer. Its stop strings, if any, must not truncate the JSON."""
    retries: int = Field(2, ge=0, le=5)
    """Number of further requests, each with the reason, after an answer that cannot be used."""
    timeout_s: float = Field(120.0, gt=0)
    """Seconds for one answer."""


Writer = Annotated[RulesWriter | ModelWriter, Field(discriminator="by")]


class HintConfig(FrozenModel):
    """Hints that are shown at the start of an episode."""

    k: int = Field(3, ge=0, le=32)
    """Hints per episode; 0 shows none."""
    bank: str | None = None
    """Path of a bank, ``.parquet`` or ``.jsonl``; None builds one from failed episodes."""
    writer: Writer = RulesWriter()
    """Writer of the hints of a bank that is built."""
    max_hints_per_episode: int = Field(4, ge=1, le=16)
    """Upper bound on hints from one failed episode."""
    max_hint_characters: int = Field(120, ge=40, le=1000)
    """Upper bound on the characters of a hint; longer ones are rejected."""
    dedupe_above: float = Field(0.85, gt=0.0, le=1.0)
    """Hints of one task type with a text similarity above this are merged; 1 merges only equal texts."""
    retriever: Literal["lexical", "llm"] = "lexical"
    """``lexical`` ranks hints by words shared with task and first observation; ``llm`` asks a model to choose."""
    ranking_sampling: Sampling = Sampling(max_tokens=96)
    """Sampling of that model's answer."""
    ranking_timeout_s: float = Field(120.0, gt=0)
    """Seconds for that model's answer."""
