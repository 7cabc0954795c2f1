"""Turns as models write them, with their expected segmentation (see ``turns/README.md``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.prompts.styles import new_style

FILES = sorted((Path(__file__).parent / "turns").glob("*.yaml"))
TURNS = [(file.stem, turn) for file in FILES for turn in yaml.safe_load(file.read_text())]


def segments(style: str, text: str) -> tuple[list[tuple[str, str]], str | None]:
    """(kind, text) of each run of one kind, and the action. The style cot submits the answer itself."""
    parsed = new_style(style, "Do it.", answer="{}").parse(text)  # type: ignore[arg-type]  # names from a file
    runs: list[tuple[str, str]] = []
    start = 0
    for kind, end in parsed.spans:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + text[start:end])
        else:
            runs.append((kind.value, text[start:end]))
        start = end
    return runs, parsed.action


@pytest.mark.parametrize(("file", "turn"), TURNS, ids=[f"{file}: {turn['note']}" for file, turn in TURNS])
def test_a_turn_is_split_as_expected(file: str, turn: dict[str, Any]) -> None:
    runs, action = segments(turn["style"], turn["text"])
    assert "".join(text for _, text in runs) == turn["text"]
    assert action == turn["action"]
    for kind, expected in turn["kinds"].items():
        of_kind = [text for name, text in runs if name == kind]
        for part in expected:
            assert any(part.strip() in text for text in of_kind), (kind, part, runs)


def test_the_corpus_covers_all_styles_with_at_least_200_turns() -> None:
    assert len(TURNS) >= 200
    assert {turn["style"] for _, turn in TURNS} == {"react", "act", "stateact", "codeact", "cot"}
    assert sum(file.startswith("blind-") for file, _ in TURNS) >= 100
