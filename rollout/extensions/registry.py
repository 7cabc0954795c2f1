"""Registries of objects that a recipe can name: built-in ones, and those that other packages add by entry points.

Names are read from package metadata. An object is imported when it is loaded by name, so a package that cannot be
imported affects only the users of its objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from rollout.errors import UserError
from rollout.messages import choose_one_of

T = TypeVar("T")


class Registry(Generic[T]):
    """The objects of one entry point group.

    Args:
        group: the entry point group, such as ``stillhouse.environments``.
        noun: name of an object in messages, such as ``environment``.
        expected: the type of its objects.
        built_in: import strings (``module:name``) of the built-in objects by name.
    """

    def __init__(self, group: str, noun: str, expected: Any, built_in: Mapping[str, str] | None = None) -> None:
        self.group = group
        self.noun = noun
        self._expected = expected
        self._built_in = dict(built_in or {})

    @property
    def built_in_names(self) -> frozenset[str]:
        """Names of the built-in objects."""
        return frozenset(self._built_in)

    def names(self) -> list[str]:
        """All names, sorted. Imports nothing."""
        return sorted({point.name for point in self._points()})

    def load(self, name: str) -> T:
        """Import the object of a name.

        Raises:
            UserError: the name is unknown, two packages provide it, or the object cannot be imported.
        """
        points = [point for point in self._points() if point.name == name]
        if not points:
            raise UserError(f"there is no {self.noun} {name!r}; {choose_one_of(name, self.names())}")
        if len(points) > 1:
            sources = " and ".join(_source(point) for point in points)
            raise UserError(f"{sources} provide the {self.noun} {name!r}; uninstall one of them")
        return self._import(points[0])

    def load_each(self, *, built_in: bool = True) -> dict[str, T | UserError]:
        """Load every object, sorted by name; objects that cannot be loaded are replaced by their error."""
        return {name: self._try(name) for name in self.names() if built_in or name not in self._built_in}

    def _points(self) -> list[EntryPoint]:
        own = [EntryPoint(name, value, self.group) for name, value in self._built_in.items()]
        return [*own, *_added(self.group)]

    def _try(self, name: str) -> T | UserError:
        try:
            return self.load(name)
        except UserError as error:
            return error

    def _import(self, point: EntryPoint) -> T:
        found = import_object(point.value, f"the {self.noun} {point.name}", f"fix or uninstall {_source(point)}")
        if not isinstance(found, self._expected):
            wanted = getattr(self._expected, "__name__", str(self._expected))
            raise UserError(
                f"the {self.noun} {point.name} ({point.value}) is not an instance of {wanted} "
                f"but of {type(found).__name__}; fix or uninstall {_source(point)}"
            )
        return found  # type: ignore[no-any-return]  # just checked


def import_object(value: str, what: str, fix: str) -> Any:
    """Import the object of an import string (``module:name``).

    Raises:
        UserError: the object cannot be imported; the message contains ``what``, the error and the ``fix``.
    """
    module, _, name = value.partition(":")
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the import of a foreign module may raise any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} ({value}) cannot be imported: {type(error).__name__}: {reason}; {fix}") from error
    return found


@cache
def _added(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _source(point: EntryPoint) -> str:
    """The package of an entry point, in words."""
    return f"the package {point.dist.name}" if point.dist is not None else "Stillhouse"
