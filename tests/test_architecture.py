"""Who may import whom, what stays out of start-up, how large a file may grow.

All of it is read from the source, so an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cluster", "rollout", "learner", "evaluation")

FIRST_PARTY = {
    "rollout": ("rollout",),
    "learner": (
        "learner",
        "rollout.trajectory",
        "rollout.trajectory.store",
        "rollout.errors",
        "rollout.extensions",
        "rollout.models",
    ),
    "evaluation": ("evaluation", "rollout"),
    "cluster": PACKAGES,
}
"""First-party modules (with all below them) that a package may import."""

NEVER = {
    "rollout": {"ray", "deepspeed", "peft"},
    "learner": {"ray", "vllm"},
    "evaluation": {"ray", "torch", "transformers", "vllm", "deepspeed", "peft"},
    "cluster": {"alfworld", "textworld"},
}
"""Third-party packages that have no place in a package, not even inside a function."""

HEAVY = {"torch", "transformers", "vllm", "openai", "httpx", "alfworld", "textworld", "deepspeed", "math_verify"}
"""Packages that rollout/ imports in the one file that adapts them, at call time."""

ADAPTERS = {
    "rollout/engines/openai_engine.py",
    "rollout/engines/transformers_engine.py",
    "rollout/engines/vllm_engine.py",
    "rollout/environments/household/alfworld_engine.py",
    "rollout/environments/household/alfworld_child.py",
    "rollout/environments/math/verify_child.py",
    "rollout/environments/make_tokenizer.py",
    "rollout/prompts/tokenizer.py",
}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """A module that a file imports; ``at_start`` if importing the file imports it too."""

    path: str
    line: int
    module: str
    at_start: bool

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, at_start: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, with whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child)
        child_at_start = at_start and not deferred
        yield child, child_at_start
        yield from walk(child, child_at_start)


def modules(node: ast.AST, path: str) -> list[str]:
    """Absolute names of what an import statement imports; ``from a import b`` counts as both a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "import_module",
        "importlib.import_module",
        "__import__",
    ):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def imports_of(text: str, path: str) -> list[Import]:
    return [
        Import(path, getattr(node, "lineno", 0), module, at_start)
        for node, at_start in walk(ast.parse(text), True)
        for module in modules(node, path)
    ]


def all_imports() -> list[Import]:
    found = []
    for path in sources(*PACKAGES):
        found += imports_of(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    return found


def is_allowed(module: str, allowed: tuple[str, ...]) -> bool:
    """The module is one of these, lies below one, or is a package above one (``from rollout import trajectory``)."""
    return any(f"{module}.".startswith(f"{name}.") or f"{name}.".startswith(f"{module}.") for name in allowed)


def breaches(found: list[Import]) -> list[str]:
    """Imports against the table, worded."""
    foreign = [
        item for item in found if item.top in PACKAGES and not is_allowed(item.module, FIRST_PARTY[item.package])
    ]
    banned = [item for item in found if item.top in NEVER[item.package]]
    heavy = [item for item in found if item.package == "rollout" and item.top in HEAVY]
    misplaced = [item for item in heavy if item.at_start or item.path not in ADAPTERS]
    return sorted({str(item) for item in foreign + banned + misplaced})


def test_imports_follow_the_table() -> None:
    assert breaches(all_imports()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rollout/episode/episode.py", "def f():\n    import ray"),
        ("rollout/episode/episode.py", "from learner import fit"),
        ("rollout/episode/episode.py", "def f():\n    import torch"),
        ("rollout/engines/vllm_engine.py", "import vllm"),
        ("learner/fit.py", "from rollout import agent"),
        ("learner/fit.py", "from rollout.environments.household.world import World"),
        ("learner/fit.py", "class A:\n    import ray.train"),
        ("evaluation/metrics.py", "def f():\n    from torch import nn"),
        ("evaluation/metrics.py", "from ..cluster import driver"),
        ("evaluation/metrics.py", "importlib.import_module('torch.nn')"),
    ],
)
def test_the_table_catches_what_it_forbids(path: str, text: str) -> None:
    assert breaches(imports_of(text, path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rollout/engines/vllm_engine.py", "def f():\n    import vllm"),
        ("rollout/engines/vllm_engine.py", "if TYPE_CHECKING:\n    import vllm"),
        ("learner/fit.py", "import torch\nfrom rollout.trajectory import Kind"),
        ("evaluation/report.py", "from .metrics import METRICS"),
        ("cluster/runtime/train_learner.py", "import ray\nfrom learner.fit import fit"),
    ],
)
def test_the_table_lets_pass_what_it_allows(path: str, text: str) -> None:
    assert breaches(imports_of(text, path)) == []


def test_the_command_line_starts_without_heavy_packages() -> None:
    code = "import cluster.cli, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "ray", "transformers", "vllm", "deepspeed", "peft", "openai"} & set(done.stdout.split())


def test_the_repository_has_these_folders_and_no_more() -> None:
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listing.returncode or not listing.stdout:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listing.stdout.splitlines() if "/" in line}
    assert {name for name in folders if not name.startswith(".")} <= {*PACKAGES, "tests", "docs", "requirements"}


def test_files_stay_small() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES, "tests")}
    assert {path: size for path, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_functions_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources(*PACKAGES, "tests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []
