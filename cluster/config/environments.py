"""Which worlds a run plays in: one environment, or a mix of several by weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.environments.plugins import environments

if TYPE_CHECKING:
    from rollout.environments.household.alfworld_engine import OriginalConfig
    from rollout.environments.household.environment import HouseholdConfig

    EnvironmentConfig = HouseholdConfig | OriginalConfig
else:
    # Those that other packages bring by entry point are settings like our own.
    _KINDS = tuple(kind.Config for kind in environments().values())
    EnvironmentConfig = Annotated[Union[_KINDS], Field(discriminator="type")]  # noqa: UP007 (built at run time)

T = TypeVar("T")
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Part(BaseModel):
    """One environment of a mix."""

    model_config = _FROZEN

    environment: EnvironmentConfig
    weight: float = Field(1.0, gt=0.0)
    """Its share of the episodes, beside the weights of the others."""


class Mix(BaseModel):
    """Several environments; every number of episodes is divided among them by weight."""

    model_config = _FROZEN

    type: Literal["mix"] = "mix"
    parts: tuple[Part, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [part.environment.type for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two parts are of the environment {name}; give each environment once")
        return self


if TYPE_CHECKING:
    WorldConfig = EnvironmentConfig | Mix
else:
    WorldConfig = Annotated[Union[(*_KINDS, Mix)], Field(discriminator="type")]


def parts_of(world: WorldConfig) -> tuple[Part, ...]:
    """The environments of a mix; one environment is its own only part."""
    return world.parts if isinstance(world, Mix) else (Part(environment=world),)


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """``count`` divided by ``weights`` into whole shares (largest remainders; of equal ones the first gets more)."""
    exact = [count * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    return shares


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """All items, those of each part in their order and spread evenly over the whole."""
    places = [((i + 0.5) / len(part), number, i) for number, part in enumerate(parts) for i in range(len(part))]
    return [parts[number][i] for _, number, i in sorted(places)]
