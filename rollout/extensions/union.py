"""A discriminated union of config classes whose members are imported only when a value names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)


class TypedSettings(BaseModel):
    """Static type of configs that are selected by ``type``; the members need not derive from it."""

    type: str


@dataclass(frozen=True)
class LazyUnion:
    """Annotation of a field: ``Annotated[Base, LazyUnion(...)]`` validates a value with the member that it names.

    It validates like pydantic's discriminated union, with the same error types and locations.

    Attributes:
        key: field that names a member, such as ``type``.
        names: function that returns the names of all members without importing them.
        member: function that returns the model of a name. It raises `UserError` if the model cannot be imported.
    """

    key: str
    names: Callable[[], Sequence[str]]
    member: Callable[[str], type[BaseModel]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def validate(self, value: object) -> BaseModel:
        """Validate a value with the model that it names.

        Raises:
            UserError: the model cannot be imported.
            ValueError: the value is invalid; pydantic's error.
        """
        if not isinstance(value, Mapping | BaseModel):
            raise PydanticKnownError("model_attributes_type")
        name = value.get(self.key, _MISSING) if isinstance(value, Mapping) else getattr(value, self.key, _MISSING)
        if name is _MISSING:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": repr(self.key)})
        known = self.names()
        if not isinstance(name, str) or name not in known:
            expected = ", ".join(map(repr, known))
            context = {"discriminator": repr(self.key), "tag": str(name), "expected_tags": expected}
            raise PydanticKnownError("union_tag_invalid", context)
        try:
            return self.member(name).model_validate(value)
        except ValidationError as error:
            details = [_below(name, detail) for detail in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, details) from error


_MISSING = object()
_KNOWN_ERRORS = frozenset(get_args(core_schema.ErrorType))


def _below(name: str, error: ErrorDetails) -> InitErrorDetails:
    """Prefix the location of a member's error with the name of the member."""
    known = error["type"] in _KNOWN_ERRORS
    kind = error["type"] if known else PydanticCustomError(error["type"], error["msg"])
    details = InitErrorDetails(type=kind, loc=(name, *error["loc"]), input=error["input"])
    return {**details, "ctx": error["ctx"]} if known and "ctx" in error else details
