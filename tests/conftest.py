"""What all tests share: repeatable property tests, and a reason to skip for what this machine cannot run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Torch's threads sleep at barriers instead of spinning, so that tests do not stall where a core is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in every run, and no verdict by the clock.
settings.register_profile("stillhouse", deadline=None, derandomize=True)
settings.load_profile("stillhouse")

LONGEST = (
    "cluster/runtime/test_ray_backend.py",
    "rollout/engines/test_vllm_engine.py",
    "cluster/runtime/test_retrieval.py",
    "learner/test_two_ranks.py",
    "learner/test_fit.py",
    "cluster/test_resume.py",
    "cluster/study/test_study.py",
    "test_docs.py",
    "cluster/test_cli.py",
    "test_installed.py",
    "rollout/tools/sandbox/test_attacks.py",
    "test_end_to_end.py",
)
"""Files that take longest. They come first, so that no process waits for one of them at the end."""


def has_gpu() -> bool:
    """An NVIDIA driver answers and lists a device."""
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.startswith("GPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; skip tests marked ``gpu`` or ``vllm`` where there is no device or no vLLM."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    missing = {}
    if not has_gpu():
        missing["gpu"] = "no NVIDIA GPU here"
    if importlib.util.find_spec("vllm") is None:
        missing["vllm"] = "vLLM is not installed: `make setup` installs it"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is built from."""
    folder = tmp_path_factory.mktemp("wheel") / "source"
    for package in ("cluster", "rollout", "learner", "evaluation"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("stillhouse_cli.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built once."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    shutil.copytree(source, folder / "source")
    done = subprocess.run([*build, str(folder / "source")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built
