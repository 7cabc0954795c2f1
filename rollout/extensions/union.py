"""A union of settings whose members are imported only when a value names one of them."""

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
    """What a type checker knows of settings that are chosen by ``type``; the classes need not derive from it."""

    type: str


@dataclass(frozen=True)
class LazyUnion:
    """Annotates a setting: ``Annotated[Base, LazyUnion(...)]`` takes what the member of that name takes.

    It validates as pydantic's discriminated union does, with the same types and locations of errors.

    Attributes:
        key: the setting that names a member, such as ``type``.
        names: gives the names of all members; imports none.
        member: gives the model of a name. Raises `UserError` if it cannot be imported.
    """

    key: str
    names: Callable[[], Sequence[str]]
    member: Callable[[str], type[BaseModel]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def validate(self, value: object) -> BaseModel:
        """The value as the model that it names.

        Raises:
            UserError: that model cannot be imported.
            ValueError: anything else that is wrong with the value, as pydantic reports it.
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
    """An error of a member, located below the name of the member."""
    known = error["type"] in _KNOWN_ERRORS
    kind = error["type"] if known else PydanticCustomError(error["type"], error["msg"])
    details = InitErrorDetails(type=kind, loc=(name, *error["loc"]), input=error["input"])
    return {**details, "ctx": error["ctx"]} if known and "ctx" in error else details
