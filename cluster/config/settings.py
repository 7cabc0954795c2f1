"""Settings as plain data: YAML files, and ``key.sub=value`` on the command line, whose values are YAML.

Scalars are read by the rules of YAML 1.2: ``yes`` and ``on`` are texts, ``0200`` is two hundred. A file or a value that
would take long to read, or much memory, is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rollout.errors import UserError
from rollout.messages import one_line

OVERRIDE_USAGE = "write key=value, for example rounds=2 or learner.learning_rate=1e-3"
MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 50
MAX_VALUES = 50_000
"""Values of a document in which every alias is replaced by what it stands for."""
TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"

_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}
"""YAML 1.2's core schema, and the merge key: pattern and first characters of a plain scalar by tag."""


class SettingsYaml(yaml.SafeLoader):
    """Safe YAML 1.2 of bounded size, where a repeated key is an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f"it has {len(text):,} characters, and at most {MAX_CHARACTERS:,} are read")
        super().__init__(text)
        self.depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _check_size(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(TOO_DEEP)
        if tag := getattr(self.peek_event(), "tag", None):
            raise yaml.YAMLError(f"it has the tag {tag}; leave tags out")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")]
        for key, count in Counter(key for key in keys if isinstance(key, Hashable)).items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A decimal number, also with leading zeros; octal and hexadecimal numbers start with 0o and 0x."""
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


class SettingsDumper(yaml.SafeDumper):
    """Writes YAML that `SettingsYaml` and readers of YAML 1.1 understand in the same way."""


for _tag, (_pattern, _first) in _SCALARS.items():
    for _reader in (SettingsYaml, SettingsDumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
SettingsYaml.add_constructor("tag:yaml.org,2002:int", SettingsYaml.construct_yaml_int)


def _check_size(node: yaml.Node, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Number of values below a node and their depth, where an alias counts as what it stands for.

    Raises:
        yaml.YAMLError: one of them exceeds its limit, or an alias stands inside of what it stands for.
    """
    if id(node) not in sizes:
        sizes[id(node)] = (MAX_VALUES + 1, 0)  # until it is known: only a cycle meets this
        below = [_check_size(child, sizes) for child in _children(node)]
        sizes[id(node)] = (1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0))
    size, depth = sizes[id(node)]
    if size > MAX_VALUES:
        raise yaml.YAMLError(f"it has more than {MAX_VALUES:,} values, counting what its aliases repeat")
    if depth > MAX_DEPTH:
        raise yaml.YAMLError(TOO_DEEP)
    return size, depth


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def parse_yaml(text: str) -> Any:
    """A YAML document as plain data.

    Raises:
        yaml.YAMLError: it is not safe YAML, or is too large, too deep or endless.
    """
    try:
        return yaml.load(text, SettingsYaml)
    except ValueError as error:  # a number with thousands of digits
        raise yaml.YAMLError(one_line(error)) from error


def dump_yaml(settings: object) -> str:
    """Settings as YAML, in their order; `parse_yaml` reads them back."""
    return yaml.dump(settings, Dumper=SettingsDumper, sort_keys=False, allow_unicode=True, width=100)


def read_settings(path: Path) -> dict[str, Any]:
    """The YAML of a file as plain data. Raises `UserError` if it cannot be read, or is no mapping."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            settings = parse_yaml(file.read(MAX_CHARACTERS + 1))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings; a recipe is a YAML mapping of settings.")
    if strange := [key for key in settings if not isinstance(key, str)]:
        raise UserError(f"{path}: the key {strange[0]!r} is no text; a recipe is a YAML mapping of settings.")
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
    if not equals or not all(key.split(".")) or key.count(".") >= MAX_DEPTH:
        raise UserError(f"{override!r} is no setting; {usage}.")
    try:
        return key, parse_yaml(text)
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
