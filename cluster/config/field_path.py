"""Resolves a path of keys in nested pydantic models to a field."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rollout.extensions.union import LazyUnion


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A resolved path of keys.

    Attributes:
        path: the user's keys, without the tags and type names that pydantic puts between them.
        field: the last setting on the way, None if the path ends at an unknown one.
        siblings: names of the settings that stand beside the last key.
    """

    path: tuple[str, ...]
    field: FieldInfo | None
    siblings: tuple[str, ...]
    hidden: bool = False
    """Whether a model on the path hides its values (pydantic's ``hide_input_in_errors``)."""
    is_open: bool = False
    """The path ends inside of a `LazyUnion`, whose settings are known only once it is told which member is meant."""

    @property
    def dotted(self) -> str:
        return ".".join(self.path)


def resolve(model: type[BaseModel], keys: Sequence[str | int]) -> FieldPath:
    """Resolve ``keys``, an error location of pydantic or a path given by a user, from ``model`` down."""
    annotation: Any = model
    path: list[str] = []
    field: FieldInfo | None = None
    siblings: tuple[str, ...] = ()
    hidden = False
    for position, key in enumerate(keys):
        models, unions = models_in(annotation), unions_in(annotation)
        owners = [m for m in models if key in m.model_fields]
        if owners:
            siblings = _names(models)
            field = owners[0].model_fields[str(key)]
            hidden = hidden or any(m.model_config.get("hide_input_in_errors") for m in owners)
            annotation = Union[tuple(annotation_of(m.model_fields[str(key)]) for m in owners)]  # noqa: UP007 (built at run time)
            path.append(str(key))
        elif isinstance(key, int) or (key.isdigit() and holds(annotation, Sequence)):
            path.append(str(key))
        elif named := [union for union in unions if key in union.names()]:
            annotation = Union[tuple(union.member(str(key)) for union in named)]  # noqa: UP007
        elif unions:
            return FieldPath((*path, *map(str, keys[position:])), field, (), hidden, is_open=True)
        elif tagged := [m for m in models if key in tags(m)]:
            annotation = Union[tuple(tagged)]  # noqa: UP007
        elif holds(annotation, Mapping) and not models:
            path.append(str(key))
        elif position == len(keys) - 1 and not names_a_type(str(key), annotation):
            return FieldPath((*path, str(key)), None, _names(models), hidden)
    return FieldPath(tuple(path), field, siblings, hidden)


def annotation_of(field: FieldInfo) -> Any:
    """The annotation of a setting, with the `LazyUnion` that pydantic has taken out of it."""
    unions = [item for item in field.metadata if isinstance(item, LazyUnion)]
    return Annotated[field.annotation, unions[0]] if unions else field.annotation


def unions_in(annotation: Any) -> list[LazyUnion]:
    """All unions that an annotation may hold whose members are named by a value."""
    if isinstance(annotation, LazyUnion):
        return [annotation]
    return [union for argument in get_args(annotation) for union in unions_in(argument)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models that an annotation may hold, through unions, lists and Annotated, but for lazy unions."""
    if any(isinstance(argument, LazyUnion) for argument in get_args(annotation)):
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def _names(models: Iterable[type[BaseModel]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for model in models for name in model.model_fields))


def tags(model: type[BaseModel]) -> set[Any]:
    """Values that may discriminate a model in a union: those of its Literal fields."""
    annotations = [field.annotation for field in model.model_fields.values()]
    return {tag for annotation in annotations if get_origin(annotation) is Literal for tag in get_args(annotation)}


def holds(annotation: Any, kind: type) -> bool:
    """Whether an annotation may hold a container of this kind; text is none."""
    origin = get_origin(annotation) or annotation
    if origin in (Union, types.UnionType, Annotated):
        return any(holds(argument, kind) for argument in get_args(annotation))
    return isinstance(origin, type) and issubclass(origin, kind) and not issubclass(origin, str)


def names_a_type(key: str, annotation: Any) -> bool:
    """Whether pydantic put the name of a union's member into the location."""
    members = {getattr(argument, "__name__", "") for argument in get_args(annotation)}
    return (
        key in members
        or "[" in key
        or key in {"str", "int", "float", "bool", "none", "function-after", "list", "tuple"}
    )
