"""The language of the project: American spelling, the field's words, docstrings that stand by themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.import_graph import PACKAGES, ROOT

BRITISH = (
    r"\bdistil(?:s|lers?)?\b(?!l)",
    r"\b\w+(?:normal|general|serial|token|summar|organ|recogn|initial|optim)is(?:e|es|ed|ing|ation)\b",
    r"\b(?:normal|general|serial|token|summar|organ|recogn|initial|optim)is(?:e|es|ed|ing|ation)\b",
    r"\bbehaviours?\b|\bcolours?\b|\bcentres?\b|\bcatalogues?\b|\bjudgement|\blabelled\b|\bneighbours?\b|\blearnt\b",
    r"\bmend(?:s|ed|ing)?\b",
)
"""Spellings and words that are not used."""


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def sources() -> list[Path]:
    return [path for package in (*PACKAGES, "tests") for path in sorted((ROOT / package).rglob("*.py"))]


def docstrings(text: str) -> Iterator[str]:
    """Texts that stand by themselves: docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def prose(text: str) -> Iterator[str]:
    """Docstrings and comments of a source file."""
    yield from docstrings(text)
    yield from (line.partition("#")[2] for line in text.splitlines() if line.lstrip().startswith("#"))


def wrong_words(text: str) -> list[str]:
    """Words that are not used. Names in backticks, such as keys of a recipe, are not words."""
    text = re.sub(r"`[^`\n]*`", "", text)
    return [match[0] for pattern in BRITISH for match in re.finditer(pattern, text, re.IGNORECASE)]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_documents_use_american_spelling(path: Path) -> None:
    assert wrong_words(path.read_text(encoding="utf-8")) == []


def test_docstrings_and_comments_use_american_spelling() -> None:
    found = {
        str(path.relative_to(ROOT)): words
        for path in sources()
        if path.name != "test_language.py"
        and (words := [word for text in prose(path.read_text(encoding="utf-8")) for word in wrong_words(text)])
    }
    assert found == {}


def test_no_docstring_begins_with_a_bare_genitive() -> None:
    found = {
        str(path.relative_to(ROOT)): text[:60]
        for path in sources()
        for text in docstrings(path.read_text(encoding="utf-8"))
        if re.match(r"\s*Of\b", text)
    }
    assert found == {}


@pytest.mark.parametrize("text", ["we mend it", "normalised weights", "It distils.", "a colour", "tokenise"])
def test_a_word_that_is_not_used_is_found(text: str) -> None:
    assert wrong_words(text)


@pytest.mark.parametrize("text", ["distills", "distillation", "distilled", "normalized", "an amendment", "recommend"])
def test_words_of_the_field_pass(text: str) -> None:
    assert wrong_words(text) == []
