"""Loads recipes from YAML by name or path, with ``key.sub=value`` overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.config.errors import unknown_key, validated
from cluster.config.field_path import FieldPath, resolve
from cluster.config.recipe import Recipe
from cluster.config.settings import parse_override, read_settings, set_value
from rollout.errors import UserError
from rollout.messages import choose_one_of

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name or any recipe by path, change it by ``key.sub=value`` overrides, and check it.

    Raises:
        UserError: there is no such recipe, it is not YAML, or a setting is wrong (each one is named).
    """
    settings = read_settings(find_recipe(name_or_path))
    for override in overrides:
        apply_override(settings, override)
    return check_recipe(settings, name_or_path)


def check_recipe(settings: Mapping[str, Any], name: str) -> Recipe:
    """Validate settings as a recipe. Raises `UserError` that lists every error under ``name``."""
    return validated(Recipe, settings, f"recipe {name}")


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe: a shipped name, else a path. A run directory stands for the recipe in it."""
    return named_file("recipe", name_or_path, RECIPES, "recipe.yaml")


def named_file(what: str, name_or_path: str, folder: Path, inside: str) -> Path:
    """The YAML file of a name in ``folder``, else of a path; a folder means its file ``inside``.

    Raises:
        UserError: there is none; ``what`` says of what kind.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name_or_path in names:
        return folder / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser()
    path = path / inside if path.is_dir() else path
    if path.is_file():
        return path
    choices = choose_one_of(name_or_path, names).removesuffix(".")
    raise UserError(f"there is no {what} {name_or_path}; {choices}, or give a path to a YAML file.")


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one ``key.sub=value`` of a recipe in place; see `parse_override` and `set_value`.

    Raises:
        UserError: it is not of that form, or the path does not exist.
    """
    key, value = parse_override(override)
    refuse_unknown(key.split("."))
    set_value(settings, key, value)


def refuse_unknown(keys: Sequence[str]) -> None:
    """Raise `UserError` for the first key of a path that no recipe has, with a suggestion."""
    for length in range(1, len(keys) + 1):
        place = resolve(Recipe, keys[:length])
        if place.is_open:  # the check of the whole recipe knows which settings there are
            return
        if place.field is None or len(place.path) < length:
            raise UserError(unknown_key(FieldPath(tuple(keys[:length]), None, place.siblings)))
