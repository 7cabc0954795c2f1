"""Starts the fork server in each tier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rollout.errors import UserError
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.layout import CODE_PATH, PYTHON_PATH, Layout, layout, package_folders, readable_paths

_REPOSITORY = str(Path(__file__).resolve().parents[3])
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PATH": "/nowhere",
    # A Python built with a shared library searches for it at its outside path, which does not exist inside.
    "LD_LIBRARY_PATH": f"{PYTHON_PATH}/lib",
    # The fork server must be single-threaded.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_START_CODE = """
import sys
sys.path.insert(0, {path!r})
from rollout.tools.sandbox.inside.zygote import main
main({control}, {worker})
"""
_ENTER_CODE = """
import json, os, sys
sys.path.insert(0, {path!r})
from rollout.tools.sandbox.inside.namespaces import enter
plan = json.loads(sys.argv[1])
enter(plan["binds"], plan["links"], plan["empty"])
os.execve(plan["command"][0], plan["command"], dict(os.environ))
"""


def start(config: SandboxConfig, tier: Tier, control: int, worker: int, log: int) -> subprocess.Popen[bytes]:
    """Start the fork server. It inherits the descriptors ``control`` and ``worker`` and writes errors to ``log``.

    Raises:
        UserError: a package of the sandbox or ``bwrap`` is not installed.
    """
    code_path = _REPOSITORY if tier is Tier.RLIMITS else CODE_PATH
    start_code = _START_CODE.format(path=code_path, control=control, worker=worker)
    if tier is Tier.RLIMITS:
        command = [sys.executable, "-I", "-S", "-c", start_code]
    else:
        tree = layout(config.packages)
        within = [tree.python, "-I", "-S", "-c", start_code]
        command = _bubblewrap(tree, within) if tier is Tier.BUBBLEWRAP else _unshare(tree, within)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env=_ENVIRONMENT,
        cwd="/",
        pass_fds=(control, worker),
        start_new_session=True,
    )


def settings(config: SandboxConfig, tier: Tier) -> dict[str, object]:
    """The first message to the fork server."""
    weak = tier is Tier.RLIMITS
    return {
        "tier": tier.value,
        "code_path": _REPOSITORY if weak else CODE_PATH,
        "python_path": package_folders(config.packages) if weak else [layout(config.packages).packages],
        "readable": readable_paths(config.packages) if weak else [],
        "preload": config.preload,
        "memory_mib": config.memory_mib,
        "scratch_mib": config.scratch_mib,
        "max_processes": config.max_processes,
    }


def _bubblewrap(tree: Layout, command: Sequence[str]) -> list[str]:
    program = shutil.which("bwrap")
    if program is None:
        raise UserError("bubblewrap is not installed: `apt-get install bubblewrap`, or set the sandbox's tier to auto")
    arguments = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    # The fork server is process 1, so that all other processes end with it.
    arguments += ["--as-pid-1", "--hostname", "sandbox", "--cap-drop", "ALL"]
    # Root needs no user namespace; the fork server later changes its user to nobody.
    root = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    arguments += root if os.geteuid() == 0 else ["--unshare-user"]
    # bwrap would create parent folders that only its own user can read.
    mount_points = [*(inside for _, inside in tree.binds), *tree.devices]
    parents = sorted({str(above) for place in mount_points for above in list(Path(place).parents)[:-1]})
    options = [
        *(("--perms", "0755", "--dir", folder) for folder in parents),
        *(("--ro-bind", outside, inside) for outside, inside in tree.binds),
        *(("--symlink", target, inside) for target, inside in tree.links),
        *(("--dev-bind", device, device) for device in tree.devices),
        *(("--tmpfs", folder, "--remount-ro", folder) for folder in tree.empty),
    ]
    arguments += chain.from_iterable(options)
    return [*arguments, "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/", "--", *command]


def _unshare(tree: Layout, command: Sequence[str]) -> list[str]:
    binds = [(outside, inside, False) for outside, inside in tree.binds]
    binds += [(device, device, True) for device in tree.devices]
    plan = {"binds": binds, "links": tree.links, "empty": tree.empty, "command": command}
    return [sys.executable, "-I", "-S", "-c", _ENTER_CODE.format(path=_REPOSITORY), json.dumps(plan)]
