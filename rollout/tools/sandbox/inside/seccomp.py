"""The seccomp filter of an interpreter: a BPF program with an allowlist of system calls; others fail with EPERM.

An allowlist stays safe when new kernels add calls. Code cannot start a process, signal or trace another one, create a
socket that reaches anything, enter a namespace or gain a privilege.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence

from rollout.tools.sandbox.inside.libc import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECCOMP,
    machine,
    prctl,
)
from rollout.tools.sandbox.inside.syscalls import ATTRIBUTES, FILE_MODES, SYSCALLS, UNCONDITIONAL

FORK_FLAGS = 0x8000 | 17
"""CLONE_PARENT and SIGCHLD: the flags with which the driver itself forks an interpreter."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4
_NEWEST_KNOWN = 462
_X32 = 0x40000000

_CLONE_THREAD = 0x00010000
_NAMESPACES_AND_PARENT = 0x7E020080 | 0x00008000
_AF_UNIX, _SIGKILL = 1, 9
_FCNTL_FORBIDDEN = (8, 10, 15, 1024, 1026, 1031, 1033)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX (send signals), F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ (memory), F_ADD_SEALS."""
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""

Instruction = tuple[int, int, int, int]
"""BPF's (code, steps to skip if true, steps to skip if false, operand)."""


def program(permit: int, file_modes: bool, architecture: str) -> list[Instruction]:
    """Build the filter.

    Args:
        permit: 64-bit number that a clone call must pass to create a process; only the driver knows it.
        file_modes: allow changing file modes; safe only if no file outside the scratch folder can be reached.
        architecture: ``x86_64`` or ``aarch64``.
    """
    numbers = {name: pair[0 if architecture == "x86_64" else 1] for name, pair in SYSCALLS.items()}
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[architecture]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    rules = {
        **{name: [_return(_ALLOW)] for name in UNCONDITIONAL},
        **{name: [_return(_ALLOW if file_modes else _ERRNO)] for name in FILE_MODES},
        **{name: [_return(_ERRNO | errno.ENOTSUP)] for name in ATTRIBUTES},
        **_conditional_rules(permit),
    }
    for name, block in rules.items():
        code += _if_number(numbers[name], block)
    # The C library tries newer calls than these and falls back if they do not exist.
    code += [(_AT_LEAST, 0, 1, _X32), _return(_KILL)]
    code += [(_AT_LEAST, 0, 1, _NEWEST_KNOWN), _return(_ERRNO | errno.ENOSYS)]
    return [*code, _return(_ERRNO | errno.EPERM)]


def install(permit: int, file_modes: bool) -> None:
    """Bind this process, and all it starts, to the filter for good. Raises `OSError` if the kernel has no seccomp."""
    code = program(permit, file_modes, machine())
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    text = ctypes.create_string_buffer(packed, len(packed))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(text)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, 2, header)


def _conditional_rules(permit: int) -> dict[str, list[Instruction]]:
    """Rules for calls that are allowed only with certain arguments."""
    return {
        "clone": _clone(permit),
        "clone3": [_return(_ERRNO | errno.ENOSYS)],  # its flags are in memory that a filter cannot read
        "sendto": _allow_if_equal([(4, 0)]),  # without an address
        "socketpair": _allow_if_equal([(0, _AF_UNIX)]),
        "prctl": _allow_if_equal([(0, PR_SET_PDEATHSIG), (1, _SIGKILL)]),
        "prlimit64": _allow_if_equal([(0, 0)]),  # this process only
        "fcntl": [*_one_of(1, _FCNTL_FORBIDDEN, _ERRNO | errno.EPERM), _return(_ALLOW)],
        "ioctl": [*_one_of(1, _IOCTL_ALLOWED, _ALLOW), _return(_ERRNO | errno.ENOTTY)],
    }


def _clone(permit: int) -> list[Instruction]:
    """Allow threads, and a fork of the process with ``permit``."""
    return [
        (_LOAD, 0, 0, _low(0)),
        (_ANY_BIT, 2, 0, _NAMESPACES_AND_PARENT),
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        _return(_ALLOW),
        *_allow_if_equal([(0, FORK_FLAGS), (2, permit)]),
    ]


def _allow_if_equal(wanted: Sequence[tuple[int, int]]) -> list[Instruction]:
    """Allow the call if each listed argument equals its value in all 64 bits."""
    halves = [
        half for index, value in wanted for half in ((_low(index), value & 0xFFFFFFFF), (_low(index) + 4, value >> 32))
    ]
    block: list[Instruction] = []
    for step, (offset, value) in enumerate(halves):
        block += [(_LOAD, 0, 0, offset), (_EQUAL, 0, 2 * (len(halves) - step - 1) + 1, value)]
    return [*block, _return(_ALLOW), _return(_ERRNO | errno.EPERM)]


def _one_of(index: int, values: Iterable[int], verdict: int) -> list[Instruction]:
    """Return ``verdict`` if the low 32 bits of an argument are among ``values``; the kernel ignores the others here."""
    tests = [test for value in values for test in ((_EQUAL, 0, 1, value), _return(verdict))]
    return [(_LOAD, 0, 0, _low(index)), *tests]


def _if_number(number: int | None, block: list[Instruction]) -> list[Instruction]:
    """Run ``block``, which ends with a verdict, for this call number; None if the machine lacks the call."""
    return [] if number is None else [(_EQUAL, 0, len(block), number), *block]


def _return(verdict: int) -> Instruction:
    return (_RETURN, 0, 0, verdict)


def _low(index: int) -> int:
    return 16 + 8 * index
