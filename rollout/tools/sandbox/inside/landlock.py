"""Restricts file access without namespaces or privileges through Landlock (Linux 5.13 and later)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress

from rollout.tools.sandbox.inside.libc import PR_SET_NO_NEW_PRIVS, prctl, syscall

_ALL_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""File access rights by Landlock version; the third and later ones use all rights up to truncation."""
_READ = 1 << 2 | 1 << 3
"""Read files, list folders."""
_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_MAKE_NODES = 1 << 6 | 1 << 11
"""Device files."""
_SCOPE_ALL = 3
"""Keeps abstract sockets and signals within the sandbox (version 6)."""
_VERSION_FLAG, _PATH_RULE = 1, 1


def version() -> int:
    """The kernel's Landlock version; 0 if it has no Landlock."""
    with suppress(OSError):
        return syscall("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    return 0


def confine(readable_paths: Sequence[str], writable_paths: Sequence[str]) -> None:
    """Restrict this process and its future children to files below these paths.

    A further call narrows the restriction. Raises `OSError` if the kernel has no Landlock.
    """
    abi = version()
    handled = _ALL_OF_ABI[min(max(abi, 1), 3)]
    # Network rights (version 4): all handled, none granted.
    attributes = struct.pack("=QQQ", handled, 3, _SCOPE_ALL)[: {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(abi, 24)]
    ruleset = syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path in readable_paths:
            _allow(ruleset, path, _READ & handled)
        for path in writable_paths:
            _allow(ruleset, path, handled & ~_MAKE_NODES & ~1)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        granted = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
        syscall("landlock_add_rule", ruleset, _PATH_RULE, struct.pack("=Qi", granted, descriptor), 0)
    finally:
        os.close(descriptor)
