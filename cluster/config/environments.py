"""The environments of a run: one, or a weighted mix of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, model_validator

from rollout.environments.plugins import ENVIRONMENTS, config_model
from rollout.extensions.union import LazyUnion, TypedSettings
from rollout.frozen_model import FrozenModel

EnvironmentConfig = Annotated[TypedSettings, LazyUnion("type", ENVIRONMENTS.names, config_model)]
MIX: Literal["mix"] = "mix"

T = TypeVar("T")


class Part(FrozenModel):
    """One environment of a mix."""

    environment: EnvironmentConfig
    weight: float = Field(1.0, gt=0.0)
    """Relative share of the episodes."""


class Mix(FrozenModel):
    """Several environments. Every number of episodes is divided among them by weight."""

    type: Literal["mix"] = "mix"
    parts: tuple[Part, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [part.environment.type for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two parts are of the environment {name}; give each environment once")
        return self


def _names() -> list[str]:
    return [*ENVIRONMENTS.names(), MIX]


def _member(name: str) -> type[BaseModel]:
    return Mix if name == MIX else config_model(name)


WorldConfig = Annotated[TypedSettings | Mix, LazyUnion("type", _names, _member)]


def parts_of(world: WorldConfig) -> tuple[Part, ...]:
    """The parts of a mix; a single environment is one part."""
    return world.parts if isinstance(world, Mix) else (Part(environment=world),)


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """Divide ``count`` by ``weights`` into whole shares, by largest remainders; ties go to the first."""
    exact = [count * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    return shares


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """Merge the parts: items of a part keep their order and are spread evenly."""
    places = [((i + 0.5) / len(part), number, i) for number, part in enumerate(parts) for i in range(len(part))]
    return [parts[number][i] for _, number, i in sorted(places)]
