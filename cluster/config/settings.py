"""Settings as plain data: YAML files, and ``key.sub=value`` on the command line, whose values are YAML."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from rollout.errors import UserError
from rollout.messages import one_line

OVERRIDE_USAGE = "write key=value, for example rounds=2 or learner.learning_rate=1e-3"


class SettingsYaml(yaml.SafeLoader):
    """Safe YAML, where ``1e-3`` is a number and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


SettingsYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_settings(path: Path) -> dict[str, Any]:
    """The YAML of a file as plain data. Raises `UserError` if it cannot be read, or is no mapping."""
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), SettingsYaml)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings; a recipe is a YAML mapping of settings.")
    return settings


def parse_override(override: str, usage: str = OVERRIDE_USAGE) -> tuple[str, Any]:
    """The dotted key and the value of ``key.sub=value``.

    Args:
        usage: how to write one, for the message.

    Raises:
        UserError: it is not of that form, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UserError(f"{override!r} is no setting; {usage}.")
    try:
        return key, yaml.load(text, SettingsYaml)
    except yaml.YAMLError as error:
        raise UserError(f"the value of {key} is not YAML: {one_line(error)}") from error


def set_value(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set ``key.sub`` in place; missing sections are made, and a number reaches into a list.

    Raises:
        UserError: the path leads into a value, or past the end of a list.
    """
    *sections, last = key.split(".")
    target: Any = settings
    for depth, section in enumerate(sections, start=1):
        target = _step_into(target, section, ".".join(sections[:depth]))
    if isinstance(target, list):
        target[_list_index(target, last, key)] = value
    else:
        target[last] = value


def _step_into(target: Any, key: str, path: str) -> Any:
    """The section below ``key``, made if it is missing."""
    if isinstance(target, list):
        return target[_list_index(target, key, path)]
    if target.get(key) is None:
        target[key] = {}
    if not isinstance(target[key], (dict, list)):
        raise UserError(f"{path}: is a value, not a section; set it as {path}=VALUE.")
    return target[key]


def _list_index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise UserError(f"{path}: the list has {len(items)} entries; give a number from 0 to {len(items) - 1}.")
    return int(key)
