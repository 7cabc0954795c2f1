"""Starting the fork server in each tier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rollout.errors import UserError
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.layout import CODE_PATH, PYTHON_PATH, Layout, layout, package_folders, readable

_REPOSITORY = str(Path(__file__).resolve().parents[3])
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PATH": "/nowhere",
    # A Python built with a shared library looks for it at its path outside, which does not exist inside.
    "LD_LIBRARY_PATH": f"{PYTHON_PATH}/lib",
    # The fork server must have a single thread.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_BEGIN = """
import sys
sys.path.insert(0, {path!r})
from rollout.tools.sandbox.inside.zygote import main
main({control}, {worker})
"""
_ENTER = """
import json, os, sys
sys.path.insert(0, {path!r})
from rollout.tools.sandbox.inside.namespaces import enter
plan = json.loads(sys.argv[1])
enter(plan["binds"], plan["links"], plan["empty"])
os.execve(plan["command"][0], plan["command"], dict(os.environ))
"""


def start(config: SandboxConfig, tier: Tier, control: int, worker: int, log: int) -> subprocess.Popen[bytes]:
    """Start the fork server; it finds ``control`` and ``worker`` under these numbers and complains to ``log``.

    Raises:
        UserError: a package that is to be seen inside is not installed, or ``bwrap`` is not.
    """
    code_path = _REPOSITORY if tier is Tier.RLIMITS else CODE_PATH
    begin = _BEGIN.format(path=code_path, control=control, worker=worker)
    if tier is Tier.RLIMITS:
        command = [sys.executable, "-I", "-S", "-c", begin]
    else:
        tree = layout(config.packages)
        within = [tree.python, "-I", "-S", "-c", begin]
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
    """What the fork server is told first."""
    weak = tier is Tier.RLIMITS
    return {
        "tier": tier.value,
        "code_path": _REPOSITORY if weak else CODE_PATH,
        "python_path": package_folders(config.packages) if weak else [layout(config.packages).packages],
        "readable": readable(config.packages) if weak else [],
        "preload": config.preload,
        "memory_mib": config.memory_mib,
        "scratch_mib": config.scratch_mib,
        "max_processes": config.max_processes,
    }


def _bubblewrap(tree: Layout, command: Sequence[str]) -> list[str]:
    program = shutil.which("bwrap")
    if program is None:
        raise UserError("bubblewrap is not installed: `apt-get install bubblewrap`, or set the sandbox's tier to auto")
    words = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    # As process 1 the fork server takes everything with it when it ends.
    words += ["--as-pid-1", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # Root makes namespaces without a user namespace, and the fork server then becomes nobody.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    # bwrap would make the folders above them for its own user alone.
    places = [*(inside for _, inside in tree.binds), *tree.devices]
    for folder in sorted({str(above) for place in places for above in list(Path(place).parents)[:-1]}):
        words += ["--perms", "0755", "--dir", folder]
    for outside, inside in tree.binds:
        words += ["--ro-bind", outside, inside]
    for target, inside in tree.links:
        words += ["--symlink", target, inside]
    for device in tree.devices:
        words += ["--dev-bind", device, device]
    for folder in tree.empty:
        words += ["--tmpfs", folder, "--remount-ro", folder]
    return [*words, "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/", "--", *command]


def _unshare(tree: Layout, command: Sequence[str]) -> list[str]:
    binds = [(outside, inside, False) for outside, inside in tree.binds]
    binds += [(device, device, True) for device in tree.devices]
    plan = {"binds": binds, "links": tree.links, "empty": tree.empty, "command": command}
    return [sys.executable, "-I", "-S", "-c", _ENTER.format(path=_REPOSITORY), json.dumps(plan)]
