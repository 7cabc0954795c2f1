"""Namespaces: around the fork server, if bubblewrap does not create them, and around each episode."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from rollout.tools.sandbox.inside import libc

EPISODE_UID = 1000

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_SIGCHLD = 17

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 1, 2

Bind = tuple[str, str, bool]
"""(path outside, path inside, writable); only devices and /proc are writable."""


def clone_into_episode() -> int:
    """Fork into new user, process, mount and IPC namespaces. 0 in the child, which is process 1 there."""
    return libc.raw_clone(_NEWUSER | _NEWPID | _NEWNS | _NEWIPC | _SIGCHLD)


def set_up_episode(uid: int, gid: int, scratch_mib: int) -> None:
    """Set up an episode's first process: map its user, mount an empty /tmp, hide /proc, drop all capabilities.

    Args:
        uid: user id outside, to which the episode's user is mapped.
        gid: group id outside.
        scratch_mib: size of /tmp.
    """
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{EPISODE_UID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{EPISODE_UID} {gid} 1")
    # If memory runs out, the kernel kills an episode rather than the worker.
    Path("/proc/self/oom_score_adj").write_text("1000")
    libc.mount("", "/", "", _REC | _PRIVATE)
    limits = f"size={scratch_mib}m,nr_inodes=8192,mode=700"
    libc.mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV | _NOEXEC, limits)
    libc.mount("tmpfs", "/proc", "tmpfs", _NOSUID | _NODEV | _NOEXEC | _RDONLY, "size=4k")
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)


def enter(binds: Sequence[Bind], links: Sequence[tuple[str, str]], empty: Sequence[str]) -> None:
    """Enter namespaces without network whose file tree holds only ``binds``; return in a child, their process 1.

    The parent waits for the child and exits with its status.

    Args:
        binds: files and folders that are visible.
        links: (target, path) of symbolic links.
        empty: folders to hide by empty ones.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | _NEWCGROUP
    libc.unshare(flags if uid == 0 else flags | _NEWUSER)
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    libc.sethostname("sandbox")
    _build_root(binds, links, empty)
    child = os.fork()
    if child:
        os.closerange(3, 1024)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(libc.PR_SET_PDEATHSIG, 9)


def _build_root(binds: Sequence[Bind], links: Sequence[tuple[str, str]], empty: Sequence[str]) -> None:
    libc.mount("", "/", "", _REC | _PRIVATE)
    libc.mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/outside")
    libc.syscall("pivot_root", b"/tmp", b"/tmp/outside")
    os.chdir("/")
    for outside, inside, writable in binds:
        _bind(f"/outside{outside}", inside, writable)
    for target, path in links:
        os.symlink(target, path)
    for folder in (*empty, "/tmp"):
        os.makedirs(folder, exist_ok=True)
    for folder in empty:
        libc.mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV | _RDONLY, "size=4k")
    libc.unmount("/outside", _DETACH)
    os.rmdir("/outside")
    libc.mount("", "/", "", _REMOUNT | _BIND | _NOSUID | _NODEV | _RDONLY)


def _bind(outside: str, inside: str, writable: bool) -> None:
    if os.path.isdir(outside):
        os.makedirs(inside, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        Path(inside).touch()
    libc.mount(outside, inside, "", _BIND | _REC)
    if not writable:
        attributes = struct.pack("=QQQQ", _ATTR_RDONLY | _ATTR_NOSUID, 0, 0, 0)
        here = _AT_FDCWD & 0xFFFFFFFFFFFFFFFF
        libc.syscall("mount_setattr", here, inside.encode(), _AT_RECURSIVE, attributes, len(attributes))
