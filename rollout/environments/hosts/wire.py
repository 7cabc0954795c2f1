"""What a worker and a host process exchange: one JSON object a line.

Request: ``{"id": 7, "environment": 2, "method": "step", "arguments": ["look"]}``. Answer: ``{"id": 7, "result": ...}``
or ``{"id": 7, "error": {...}}``. The first line of a worker is a `Hello`.

``create`` (by the host's config) and ``fork`` (its argument is the number of the copy) return a `Description`; ``ping``
returns nothing, without waiting for any environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import TypeAdapter

from rollout.environment import Reset, Step
from rollout.errors import Boundary, EpisodeError, Failure, SetupError, UserError, failure_of
from rollout.frozen_model import FrozenModel


class Hello(FrozenModel):
    """How a host makes its environments: where it imports from, and the settings (``type`` names the plug-in)."""

    import_path: tuple[str, ...]
    config: dict[str, Any]


class Description(FrozenModel):
    """What an environment offers: its class, its optional abilities and its action templates."""

    class_name: str
    abilities: frozenset[str] = frozenset()
    action_templates: tuple[str, ...] = ()


class Request(FrozenModel):
    """A call of a method of an environment."""

    id: int
    environment: int
    method: str
    arguments: tuple[Any, ...] = ()


_RESULTS: Mapping[str, TypeAdapter[Any]] = {
    "create": TypeAdapter(Description),
    "fork": TypeAdapter(Description),
    "reset": TypeAdapter(Reset),
    "step": TypeAdapter(Step),
    "admissible_actions": TypeAdapter(tuple[str, ...] | None),
    "open_actions": TypeAdapter(tuple[str, ...]),
    "passages": TypeAdapter(tuple[str, ...]),
    "close": TypeAdapter(None),
    "ping": TypeAdapter(None),
}


def encode_result(result: object) -> Any:
    """The JSON value of what a method returned, after the checks of `rollout.environment`."""
    if isinstance(result, Step):
        scores = {name: float(score) for name, score in result.scores.items()}
        return asdict(replace(result, reward=float(result.reward), scores=scores))
    if isinstance(result, Reset):
        return asdict(result)
    return result.model_dump(mode="json") if isinstance(result, Description) else result


def decode_result(method: str, value: object) -> Any:
    """What a method returned. Raises `ValueError` if the value is not of its type."""
    return _RESULTS[method].validate_python(value)


def encode_error(error: BaseException) -> dict[str, Any]:
    """The JSON value of an exception of an environment."""
    failure = error.failure if isinstance(error, EpisodeError) else failure_of(error, Boundary.ENVIRONMENT)
    message = failure.message.encode(errors="replace").decode()
    return {**asdict(failure), "message": message, "is_users": isinstance(error, UserError)}


def decode_error(value: Mapping[str, Any]) -> Exception:
    """The exception that a host reports: of the user, or an `EpisodeError` with the recorded failure.

    Raises:
        ValueError: the value is not of this form.
    """
    fields = dict(value)
    is_users = fields.pop("is_users", False)
    failure = TypeAdapter(Failure).validate_python(fields)
    if not is_users:
        return EpisodeError(failure)
    return SetupError(failure.message) if failure.type == SetupError.__name__ else UserError(failure.message)
