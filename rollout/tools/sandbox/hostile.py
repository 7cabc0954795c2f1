"""The description of a hostile program, and the prelude that all of them share.

The programs print ESCAPED if a forbidden operation works. Where a success could harm the machine, they only test
whether it would work (signal 0, opening without truncation), so that a broken sandbox is detected without damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Aim = Literal[
    "time",
    "memory",
    "processes",
    "output",
    "files",
    "secrets",
    "network",
    "kernel",
    "signals",
    "result channel",
    "interpreter",
]
"""What a hostile program attacks."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile program.

    Attributes:
        name: a short description.
        aim: what it attacks.
        code: the program. ``@RUN@``, ``@HOME@``, ``@PORT@``, ``@SOCKET@`` and ``@WORKER@`` stand for the run
            directory, the user's home, a TCP port, the name of a socket and the worker's process id.
        follow_up: a second piece of code for the same interpreter, if the damage shows only afterwards.
        limit_s: time limit; short for programs that would never end.
    """

    name: str
    aim: Aim
    code: str
    follow_up: str = ""
    limit_s: float = 10.0


PRELUDE = '''
import ctypes, errno, os, platform, sys

def attempt(deed, *arguments, **keywords):
    """Say whether a forbidden deed works."""
    try:
        result = deed(*arguments, **keywords)
    except Exception as error:
        print("refused:", type(error).__name__)
    else:
        print("ESCAPED", getattr(deed, "__name__", deed), arguments, type(result).__name__)

def kernel(name, *arguments):
    """Say whether the kernel answers a call other than with "not permitted" or "no such call"."""
    number = NUMBERS[name][0 if platform.machine() == "x86_64" else 1]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(item) for item in (*arguments, *[0] * 6)[:6]))
    if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        print("ESCAPED", name, result, ctypes.get_errno())

NUMBERS = {row.split()[0]: tuple(map(int, row.split()[1:])) for row in """
    ptrace 101 117 | process_vm_readv 310 270 | process_vm_writev 311 271 | keyctl 250 219 | add_key 248 217 |
    request_key 249 218 | bpf 321 280 | perf_event_open 298 241 | userfaultfd 323 282 | kexec_load 246 104 |
    init_module 175 105 | finit_module 313 273 | reboot 169 142 | mount 165 40 | umount2 166 39 | unshare 272 97 |
    setns 308 268 | io_uring_setup 425 425 | open_by_handle_at 304 265 | name_to_handle_at 303 264 |
    tgkill 234 131 | tkill 200 130 | rt_sigqueueinfo 129 138 | rt_tgsigqueueinfo 297 240 | pidfd_open 434 434 |
    pidfd_send_signal 424 424 | pidfd_getfd 438 438 | kcmp 312 272 | memfd_create 319 279 | memfd_secret 447 447 |
    shmget 29 194 | msgget 68 186 | semget 64 190 | mq_open 240 180 | syslog 103 116 | quotactl 179 60 |
    acct 163 89 | swapon 167 224 | settimeofday 164 170 | clock_settime 227 112 | adjtimex 159 171 |
    personality 135 92 | fanotify_init 300 262 | fsopen 430 430 | move_mount 429 429 | mount_setattr 442 442 |
    open_tree 428 428 | seccomp 317 277 | setpriority 141 140 | ioprio_set 251 30 | process_madvise 440 440 |
    mlockall 151 230 | execve 59 221 | execveat 322 281 | pivot_root 155 41 | chroot 161 51 | socket 41 198 |
    connect 42 203 | bind 49 200 | prctl 157 167 | clone 56 220 | capset 126 91 | setuid 105 146
""".split("|")}
'''
"""Code that runs before each hostile program."""
