"""The base class of settings and of small records that pydantic validates."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A model that is immutable and rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def reject(*contradictions: tuple[object, str]) -> None:
    """Raise `ValueError` with the sentence of the first contradiction that is true, for use in validators."""
    for found, sentence in contradictions:
        if found:
            raise ValueError(sentence)
