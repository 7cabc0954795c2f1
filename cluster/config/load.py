"""Loads recipes from YAML by name or path, with ``key.sub=value`` overrides."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.config.errors import unknown_key, validated
from cluster.config.field_path import FieldPath, resolve
from cluster.config.recipe import Recipe
from rollout.errors import UserError
from rollout.messages import suggest

RECIPES = Path(__file__).parent / "recipes"


class RecipeYaml(yaml.SafeLoader):
    """Safe YAML loader in which ``1e-3`` is a number and a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


RecipeYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


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
    near = suggest(name_or_path, names)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(
        f"there is no {what} {name_or_path}; {hint}Give a path to a YAML file or one of: {', '.join(names)}."
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The YAML of a recipe file as plain data."""
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), RecipeYaml)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings; a recipe is a YAML mapping of settings.")
    return settings


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one ``key.sub=value`` in place. The value is YAML; a list item is addressed by its index.

    Raises:
        UserError: it is not of that form, or the path does not exist.
    """
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UserError(
            f"{override!r} is no setting; write key=value, for example rounds=2 or learner.learning_rate=1e-3."
        )
    try:
        value = yaml.load(text, RecipeYaml)
    except yaml.YAMLError as error:
        raise UserError(f"the value of {dotted} is not YAML: {' '.join(str(error).split())}") from error
    refuse_unknown(keys)
    target: Any = settings
    for depth, key in enumerate(keys[:-1]):
        target = _step_into(target, key, ".".join(keys[: depth + 1]))
    _set_item(target, keys[-1], value, dotted)


def refuse_unknown(keys: Sequence[str]) -> None:
    """Raise `UserError` for the first key of a path that no recipe has, with a suggestion."""
    for length in range(1, len(keys) + 1):
        place = resolve(Recipe, keys[:length])
        if place.is_open:  # the check of the whole recipe knows which settings there are
            return
        if place.field is None or len(place.path) < length:
            raise UserError(unknown_key(FieldPath(tuple(keys[:length]), None, place.siblings)))


def _step_into(target: Any, key: str, path: str) -> Any:
    """The section below ``key``; it is created if it does not exist."""
    if isinstance(target, list):
        return target[_list_index(target, key, path)]
    if target.get(key) is None:
        target[key] = {}
    if not isinstance(target[key], (dict, list)):
        raise UserError(f"{path}: is a value, not a section; set it as {path}=VALUE.")
    return target[key]


def _set_item(target: Any, key: str, value: Any, path: str) -> None:
    if isinstance(target, list):
        target[_list_index(target, key, path)] = value
    else:
        target[key] = value


def _list_index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise UserError(f"{path}: the list has {len(items)} entries; give a number from 0 to {len(items) - 1}.")
    return int(key)
