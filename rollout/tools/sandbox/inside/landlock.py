"""Files out of reach without namespaces: Landlock, which needs no privilege (Linux 5.13 and later)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress

from rollout.tools.sandbox.inside.libc import PR_SET_NO_NEW_PRIVS, prctl, syscall

_ALL_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Rights over files that a version of Landlock knows; from the third on: all up to truncation."""
_READ = 1 << 2 | 1 << 3
"""Read files, list folders."""
_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_MAKE_NODES = 1 << 6 | 1 << 11
"""Device files."""
_SCOPE_ALL = 3
"""Abstract sockets and signals stay within (sixth version)."""
_VERSION_FLAG, _PATH_RULE = 1, 1


def version() -> int:
    """The kernel's version of Landlock; 0 if it has none."""
    with suppress(OSError):
        return syscall("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    return 0


def confine(readable: Sequence[str], writable: Sequence[str]) -> None:
    """From here on this process and all it starts can open only what lies below these paths.

    A call under another confinement narrows it further. Raises `OSError` if the kernel has no Landlock.
    """
    abi = version()
    handled = _ALL_OF_ABI[min(max(abi, 1), 3)]
    # Network rights (fourth version): all handled, none granted.
    attributes = struct.pack("=QQQ", handled, 3, _SCOPE_ALL)[: {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(abi, 24)]
    ruleset = syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, handled & ~_MAKE_NODES & ~1)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        held = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
        syscall("landlock_add_rule", ruleset, _PATH_RULE, struct.pack("=Qi", held, place), 0)
    finally:
        os.close(place)
