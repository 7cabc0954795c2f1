"""Messages, docstrings and documents name only commands that the command line has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main

from cluster.cli import app
from tests.import_graph import PACKAGES, ROOT

COMMAND = re.compile(r"""(?<![\w./~-])stillhouse(?:\s+|", ")([a-z][\w-]*)""")
"""``stillhouse run``, with or without backticks, also across a line break and as a list of words."""


@cache
def commands() -> frozenset[str]:
    return frozenset(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def strings(source: str) -> Iterator[str]:
    """Every string of a Python file as the reader of a message sees it: joined, with ... for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)


def unknown(text: str, is_python: bool = False) -> list[str]:
    """The words after ``stillhouse`` in a text that are no commands."""
    texts = [text, *(strings(text) if is_python else ())]
    return sorted({name for one in texts for name in COMMAND.findall(one)} - commands())


def files() -> list[Path]:
    folders = (*PACKAGES, "tests", "docs", ".ci")
    inside = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    found = [
        *inside,
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("*.py")),
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
    ]
    text = {".py", ".md", ".yaml", ".toml", ".json", ".j2", ""}
    return [path for path in found if path.is_file() and path.suffix in text and path != Path(__file__).resolve()]


def test_every_command_that_is_named_exists() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in files()
        if "models" not in path.parts and (names := unknown(path.read_text(encoding="utf-8"), path.suffix == ".py"))
    }
    assert found == {}


def test_readme_documents_and_messages_are_among_the_files() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"README.md", "CHANGELOG.md", "Makefile", "docs/methods.md", "cluster/config/recipes/smoke.yaml"} <= names
    assert {"cluster/cli.py", "rollout/errors.py", ".ci/setup"} <= names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Look with `stillhouse watch RUN`.", ["watch"]),
        ("``stillhouse watch``", ["watch"]),
        ("then stillhouse watch RUN", ["watch"]),
        ("run `stillhouse\n    watch`", ["watch"]),
        ('["stillhouse", "watch"]', ["watch"]),
        ("    stillhouse watch | stillhouse tail", ["tail", "watch"]),
        ("`stillhouse run quickstart`, stillhouse check-environment, pip install 'stillhouse[dense]'", []),
        ("Stillhouse trains; ~/.cache/stillhouse is kept; the group stillhouse.engines", []),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, names: list[str]) -> None:
    assert unknown(text) == names


def test_a_message_is_read_as_it_is_printed() -> None:
    assert unknown('raise ValueError(f"see {folder}: `stillhouse " "watch`")', is_python=True) == ["watch"]
