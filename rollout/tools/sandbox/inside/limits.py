"""What one interpreter may use, enforced by the kernel."""

from __future__ import annotations

import resource

MIB = 1 << 20
_OPEN_FILES = 64
_STACK_MIB = 8


def impose(memory_bytes: int, file_mib: int, processes: int | None) -> None:
    """Bind this process for good.

    Args:
        memory_bytes: address space, what the preloaded interpreter has already included.
        file_mib: size of one file.
        processes: processes and threads of this user in this user namespace; None where others would be counted too.
    """
    _fix(resource.RLIMIT_AS, memory_bytes)
    _fix(resource.RLIMIT_FSIZE, file_mib * MIB)
    _fix(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _fix(resource.RLIMIT_STACK, _STACK_MIB * MIB)
    _fix(resource.RLIMIT_CORE, 0)
    _fix(resource.RLIMIT_MEMLOCK, 0)
    _fix(resource.RLIMIT_MSGQUEUE, 0)
    if processes is not None:
        _fix(resource.RLIMIT_NPROC, processes)


def _fix(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def address_space() -> int:
    """Bytes of address space that this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
