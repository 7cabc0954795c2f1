"""Turns pydantic errors into sentences: the setting, what it must be, its value, and how to fix it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from cluster.config.field_path import FieldPath, annotation_of, models_in, resolve, unions_in
from rollout.errors import UserError
from rollout.messages import choose_one_of, did_you_mean

M = TypeVar("M", bound=BaseModel)
MESSAGE_STARTS = {"Input should be": "must be", "Value error, ": "", "Assertion failed, ": ""}


def sentences(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence per error, in the order of the recipe, without duplicates."""
    return list(dict.fromkeys(sentence(details, model) for details in error.errors(include_url=False)))


def sentence(details: ErrorDetails, model: type[BaseModel]) -> str:
    """A sentence such as ``learner.learning_rate: must be greater than 0 (got -1); the default is 0.002.``."""
    place = resolve(model, details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        return unknown_key(place)
    if kind == "missing":
        return f"{place.dotted}: is missing; add it."
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return wrong_type(place, details)
    if kind == "value_error":
        text = plain(details["msg"]).rstrip(".") + "."
        return f"{place.dotted}: {text}" if place.path else text
    got = "" if place.hidden else f" (got {format_value(details['input'])})"
    return f"{place.dotted}: {plain(details['msg'])}{got}{_default_hint(place)}."


def unknown_key(place: FieldPath) -> str:
    """Sentence for a path whose last key does not exist."""
    known = f"known here: {', '.join(place.siblings) or 'nothing'}."
    return f"{place.dotted}: there is no such setting; {did_you_mean(place.path[-1], place.siblings) or known}"


def wrong_type(place: FieldPath, details: ErrorDetails) -> str:
    """Sentence for a discriminated union whose ``type`` is missing or unknown."""
    context: dict[str, Any] = details.get("ctx", {})
    setting = str(context["discriminator"]).strip("'")
    known = choices(place.field, setting)
    key = ".".join((*place.path, setting))
    if details["type"] == "union_tag_not_found":
        return f"{key}: is missing; choose one of {', '.join(known)}."
    tag = str(context["tag"])
    return f"{key}: there is no {format_value(tag)}; {choose_one_of(tag, known)}"


def choices(field: FieldInfo | None, setting: str) -> list[str]:
    """Values of the setting that discriminates the members of a union."""
    if field is None:
        return []
    annotation = annotation_of(field)
    fields = [model.model_fields[setting] for model in models_in(annotation)]
    lazy = [name for union in unions_in(annotation) for name in union.names()]
    return [*(str(choice) for member in fields for choice in get_args(member.annotation)), *lazy]


def plain(message: str) -> str:
    """A shorter form of pydantic's message."""
    for start, instead in MESSAGE_STARTS.items():
        if message.startswith(start):
            return instead + message.removeprefix(start)
    return message[:1].lower() + message[1:]


def format_value(value: object, limit: int = 60) -> str:
    """A value as in a recipe, truncated if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _default_hint(place: FieldPath) -> str:
    if place.field is None or place.field.default in (PydanticUndefined, None, ""):
        return ""
    default = place.field.default
    return f"; the default is {format_value(default)}" if isinstance(default, (bool, int, float, str)) else ""


def bullet_list(lines: Iterable[str]) -> str:
    """Format lines as a bullet list."""
    return "".join(f"\n  - {line}" for line in lines)


def validated(model: type[M], settings: Mapping[str, Any], name: str) -> M:
    """Validate settings as ``model``. Raises `UserError` that lists every error under ``name``."""
    try:
        checked = model.model_validate(settings)
        wrong = [
            f"{path}: must be a number (got {format_value(value)})." for path, value in switches(settings, checked)
        ]
    except ValidationError as error:
        wrong = sentences(error, model)
    if wrong:
        raise UserError(
            f"{name}: {wrong[0]}" if len(wrong) == 1 else f"{name} has {len(wrong)} mistakes:{bullet_list(wrong)}"
        )
    return checked


def switches(settings: object, checked: object, path: str = "") -> Iterator[tuple[str, bool]]:
    """Yield each true or false that pydantic has read as a number, with its path."""
    if isinstance(settings, bool):
        if isinstance(checked, (int, float)) and not isinstance(checked, bool):
            yield path, settings
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            below = checked.get(key) if isinstance(checked, Mapping) else getattr(checked, str(key), None)
            yield from switches(value, below, f"{path}.{key}" if path else str(key))
    elif isinstance(settings, Sequence) and isinstance(checked, Sequence) and not isinstance(settings, str):
        for number, (value, below) in enumerate(zip(settings, checked, strict=False)):
            yield from switches(value, below, f"{path}.{number}")
