"""Every name in docs/architecture.md exists: files and folders, classes and functions, settings, entry points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster.config.field_path import resolve
from cluster.config.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for package in ("cluster", "rollout", "learner", "evaluation")
    for path in sorted((ROOT / package).rglob("*.py"))
)
WORDS = {"reason", "act", "format", "trailing", "rollout", "metrics.jsonl"}
"""Segment kinds, a package, and a file of a run."""


def exists(name: str) -> bool:
    """Whether a name of the page is a path, a command, a setting, or something that the source defines."""
    if name in WORDS or "/" in name or name.endswith(".py"):
        return name in WORDS or (ROOT / name).exists()
    if name.startswith("stillhouse "):
        return f"def {name.split()[1].replace('-', '_')}" in SOURCE or name == "stillhouse --help"
    if name.startswith("stillhouse."):
        return f'"{name}"' in SOURCE
    if "." in name and name.split(".")[0] in Recipe.model_fields:
        place = resolve(Recipe, name.split("."))
        return place.field is not None and len(place.path) == len(name.split("."))
    last = name.split(".")[-1]
    return re.search(rf"(class|def) {last}\b|^{last}( =|:)", SOURCE, re.MULTILINE) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize("name", ["rollout/nowhere.py", "Nobody", "agent.nothing", "stillhouse.nothing"])
def test_a_name_that_does_not_exist_is_found(name: str) -> None:
    assert not exists(name)


def test_the_page_stays_short() -> None:
    assert len(PAGE.splitlines()) <= 150
