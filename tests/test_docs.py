"""The example package of docs/environments.md is what it says: found by its entry point, and true to the interface."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE = re.compile(r"^`guessing/(?P<name>[\w.]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def install(folder: Path, text: str) -> None:
    """The files of the example in ``folder``, with the entry points that its pyproject.toml names."""
    files = {match["name"]: match["text"] for match in FILE.finditer(text)}
    assert set(files) == {"pyproject.toml", "guessing.py"}
    (folder / "guessing.py").write_text(files["guessing.py"], encoding="utf-8")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("".join(lines))


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")


def test_the_example_keeps_every_promise(tmp_path: Path, page: str) -> None:
    install(tmp_path, page)
    listed = python(tmp_path, "-m", "cluster.cli", "list", "environments").stdout
    assert "A number to guess, with hints." in listed
    done = python(tmp_path, "-m", "cluster.cli", "check-environment", "guess", "largest=500", "--episodes", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(
        r"guess: all \d+ promises hold \(2 splits, 10 tasks, 10 episodes, [\d,]+ steps, seed 0\)", done.stdout
    )


SEEDED = 'f"guess/{split}/{seed}/{index}"'


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("sorted(f", "list(f", "admissible_actions is None or sorted, without duplicates: "),
        (
            'Literal["guess"] = "guess"',
            'Literal["number"] = "number"',
            "Config says its name as type: ",
        ),
        (
            SEEDED,
            f"hash({SEEDED})",
            "the same arguments give the same tasks: those of 'train' differ",
        ),
    ],
)
def test_the_example_with_a_mistake_is_told_of_it_in_one_line(
    right: str, wrong: str, line: str, tmp_path: Path, page: str
) -> None:
    assert page.count(right) == 1
    install(tmp_path, page.replace(right, wrong))
    done = python(tmp_path, "-m", "cluster.cli", "check-environment", "guess")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout + done.stderr
    assert done.stdout.startswith(line)


def test_the_example_can_be_named_in_a_recipe_and_worded_in_every_style_without_a_state(
    tmp_path: Path, page: str
) -> None:
    install(tmp_path, page)
    code = """
from cluster.config.load import load_recipe
from rollout.episode.episode import AgentConfig
from rollout.factory import make_style
recipe = load_recipe("smoke", ["environment={type: guess, largest: 50}"])
for name in ("react", "act", "codeact"):
    style = make_style(AgentConfig(style=name, examples=1, instructions="full"), recipe.environment)
    print("guess[15]" in str(style.example(style.examples[0])), "{form}" in style.instructions)
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout.split() == ["True", "False"] * 3, done.stderr
