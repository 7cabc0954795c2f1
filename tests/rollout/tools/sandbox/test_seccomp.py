"""The seccomp filter, run by a small BPF interpreter, so that both architectures are tested on either one."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from rollout.tools.sandbox.inside.seccomp import FORK_FLAGS, Instruction, program
from rollout.tools.sandbox.inside.syscalls import SYSCALLS, UNCONDITIONAL

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PERMIT = 0x1122334455667788
HEADERS = {
    "x86_64": (0, Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
    "aarch64": (1, Path("/usr/include/asm-generic/unistd.h")),
}


def verdict(code: list[Instruction], architecture: int, number: int, *arguments: int) -> int:
    """The verdict of the program on a system call."""
    words = {0: number, 4: architecture}
    for index, value in enumerate(arguments):
        words[16 + 8 * index], words[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32
    place, loaded = 0, 0
    while True:
        operation, if_true, if_false, operand = code[place]
        place += 1
        if operation == 0x20:
            loaded = words.get(operand, 0)
        elif operation == 0x06:
            return operand
        else:
            true = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[operation]
            place += if_true if true else if_false


def ask(name: str, *arguments: int, machine: str = "x86_64", file_modes: bool = True) -> int:
    number = SYSCALLS[name][0 if machine == "x86_64" else 1]
    assert number is not None
    return verdict(program(PERMIT, file_modes, machine), ARCHITECTURES[machine], number, *arguments)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_reading_is_allowed_and_unlisted_calls_are_refused(machine: str) -> None:
    assert ask("read", machine=machine) == ALLOW
    listed = {pair[0 if machine == "x86_64" else 1] for pair in SYSCALLS.values()}
    code = program(PERMIT, True, machine)
    for number in set(range(462)) - listed:
        assert verdict(code, ARCHITECTURES[machine], number) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_unconditional_call_is_allowed(machine: str) -> None:
    for name in UNCONDITIONAL:
        if SYSCALLS[name][0 if machine == "x86_64" else 1] is not None:
            assert ask(name, machine=machine) == ALLOW, name


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_threads_can_be_created_and_processes_only_with_the_permit(machine: str) -> None:
    thread, process, into_namespace = 0x3D0F00, 17, 0x10000000 | 17
    assert ask("clone", thread, machine=machine) == ALLOW
    assert ask("clone", thread | 0x20000, machine=machine) == ERRNO | errno.EPERM
    for flags in (process, into_namespace, FORK_FLAGS):
        assert ask("clone", flags, 0, 5, machine=machine) == ERRNO | errno.EPERM
    assert ask("clone", FORK_FLAGS, 0, PERMIT, machine=machine) == ALLOW
    assert ask("clone", into_namespace, 0, PERMIT, machine=machine) == ERRNO | errno.EPERM
    for nearly in (PERMIT ^ 1, PERMIT ^ (1 << 63)):
        assert ask("clone", FORK_FLAGS, 0, nearly, machine=machine) == ERRNO | errno.EPERM
    assert ask("clone3", machine=machine) == ERRNO | errno.ENOSYS


def test_arguments_decide_where_they_matter() -> None:
    refused = ERRNO | errno.EPERM
    assert ask("sendto", 3, 1, 1, 0, 0) == ALLOW
    assert ask("sendto", 3, 1, 1, 0, 1 << 40) == refused
    assert (ask("socketpair", 1), ask("socketpair", 2)) == (ALLOW, refused)
    assert (ask("prlimit64", 0), ask("prlimit64", 1)) == (ALLOW, refused)
    assert (ask("fcntl", 3, 1), ask("fcntl", 3, 8), ask("fcntl", 3, 10)) == (ALLOW, refused, refused)
    assert (ask("ioctl", 0, 0x5401), ask("ioctl", 0, 0x5412)) == (ALLOW, ERRNO | errno.ENOTTY)
    assert (ask("prctl", 1, 9), ask("prctl", 4, 1), ask("prctl", 1, 15)) == (ALLOW, refused, refused)


def test_file_modes_are_not_changed_if_files_outside_can_be_reached() -> None:
    assert ask("chmod") == ALLOW
    assert ask("chmod", file_modes=False) == ERRNO


def test_another_architectures_calls_end_the_process() -> None:
    code = program(PERMIT, True, "x86_64")
    assert verdict(code, 0x40000003, 0) == KILL
    assert verdict(code, ARCHITECTURES["x86_64"], 0x40000000 + 39) == KILL


def test_calls_newer_than_the_list_are_answered_as_missing() -> None:
    assert verdict(program(PERMIT, True, "x86_64"), ARCHITECTURES["x86_64"], 470) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_linux(machine: str) -> None:
    column, header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"the kernel's headers are not installed here ({header})")
    official = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(encoding="utf-8"))
    }
    official.setdefault("newfstatat", official.get("fstatat", -1))
    for name, pair in SYSCALLS.items():
        if name in official:
            assert pair[column] == official[name], name
