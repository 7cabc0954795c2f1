"""Wrappers for system calls that Python does not provide."""

from __future__ import annotations

import ctypes
import os
import platform

NUMBERS = {
    "x86_64": {"clone": 56, "prctl": 157, "capset": 126, "pivot_root": 155},
    "aarch64": {"clone": 220, "prctl": 167, "capset": 91, "pivot_root": 41},
}
"""System call numbers by machine; the newer calls below have the same number everywhere."""
COMMON_NUMBERS = {
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_CAPABILITY_VERSION_3 = 0x20080522

# PyDLL keeps the interpreter lock, so that the child of a raw clone need not wait for it.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def machine() -> str:
    """``x86_64`` or ``aarch64``. Raises `OSError` on any other."""
    name = platform.machine()
    if name not in NUMBERS:
        raise OSError(f"the sandbox knows the system calls of {' and '.join(NUMBERS)}, not of {name}")
    return name


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call. Raises `OSError` if it fails."""
    number = COMMON_NUMBERS.get(name) or NUMBERS[machine()][name]
    words = [ctypes.c_ulong(item) if isinstance(item, int) else item for item in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    return _checked(name, result)


def prctl(option: int, value: int, pointer: object = None) -> None:
    """``prctl(2)``. Raises `OSError` if it fails."""
    _checked("prctl", _libc.prctl(option, ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """``mount(2)``."""
    texts = [text.encode() or None for text in (source, target, kind)]
    result = _libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None)
    _checked(f"mount on {target}", result)


def unmount(target: str, flags: int) -> None:
    """``umount2(2)``."""
    _checked(f"unmount {target}", _libc.umount2(target.encode(), flags))


def unshare(flags: int) -> None:
    """``unshare(2)``."""
    _checked("unshare", _libc.unshare(flags))


def sethostname(name: str) -> None:
    """``sethostname(2)``."""
    _checked("sethostname", _libc.sethostname(name.encode(), len(name)))


def drop_capabilities() -> None:
    """Drop all capabilities of this process."""
    header = ctypes.create_string_buffer(_CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4))
    syscall("capset", header, ctypes.create_string_buffer(24))


def raw_clone(flags: int, third_argument: int = 0) -> int:
    """`os.fork` with flags and a third argument for ``clone(2)``. Returns 0 in the child, its id in the parent."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    child = -1
    try:
        child = syscall("clone", flags, 0, third_argument, 0, 0)
        return child
    finally:
        (python.PyOS_AfterFork_Parent if child else python.PyOS_AfterFork_Child)()


def _checked(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
