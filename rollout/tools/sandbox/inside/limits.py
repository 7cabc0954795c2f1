"""Resource limits of one interpreter, enforced by the kernel."""

from __future__ import annotations

import resource
from pathlib import Path

MIB = 1 << 20
_OPEN_FILES = 64
_STACK_MIB = 8


def apply_limits(memory_bytes: int, file_mib: int, processes: int | None) -> None:
    """Set the limits of this process permanently.

    Args:
        memory_bytes: size of the address space, including that of the preloaded interpreter.
        file_mib: maximum size of one file.
        processes: maximum number of processes and threads of this user in this user namespace; None sets no limit,
            because without a user namespace the user's other processes would count.
    """
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_mib * MIB,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_STACK: _STACK_MIB * MIB,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        **({} if processes is None else {resource.RLIMIT_NPROC: processes}),
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def address_space() -> int:
    """Current size of this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
