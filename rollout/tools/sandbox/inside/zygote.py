"""The fork server: loads numpy and sympy once, then forks a process for each episode. It runs no model-written code."""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rollout.tools.sandbox.inside import landlock, libc, limits, namespaces, seccomp, wire
from rollout.tools.sandbox.inside.interpreter import Interpreter

_MESSAGE_BYTES = 1 << 16
_CHANNEL = 3
_UNPRIVILEGED = 65534


def main(control_number: int, worker_number: int) -> None:
    """Serve requests until the worker exits.

    Args:
        control_number: descriptor of a packet socket; its first message contains the settings.
        worker_number: descriptor that becomes readable when the worker's process ends.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=control_number)
    settings = _receive(control)[0]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.path[:] = [*(path for path in sys.path if path != settings["code_path"]), *settings["python_path"]]
    for name in settings["preload"]:
        importlib.import_module(name)
    _drop_privileges(settings)
    settings["memory_bytes"] = limits.address_space() + settings["memory_mib"] * limits.MIB
    gc.collect()
    gc.freeze()
    control.send(wire.encode({"type": "ready"}))
    watched = select.poll()
    watched.register(control, select.POLLIN)
    watched.register(worker_number, select.POLLIN)
    while True:
        ready = {number for number, _ in watched.poll()}
        if worker_number in ready:
            os._exit(0)
        message, descriptors = _receive(control)
        if descriptors:
            _start_episode(settings, message, descriptors[0])


def _drop_privileges(settings: dict[str, Any]) -> None:
    if settings["tier"] != "rlimits":
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_UNPRIVILEGED, _UNPRIVILEGED, _UNPRIVILEGED)
            os.setresuid(_UNPRIVILEGED, _UNPRIVILEGED, _UNPRIVILEGED)
        libc.prctl(libc.PR_SET_DUMPABLE, 1)  # otherwise the uid maps in /proc/self would belong to root
    else:
        libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)


def _start_episode(settings: dict[str, Any], message: dict[str, Any], descriptor: int) -> None:
    weak = settings["tier"] == "rlimits"
    uid, gid = os.geteuid(), os.getegid()
    try:
        child = os.fork() if weak else namespaces.clone_into_episode()
    except OSError as error:
        os.write(descriptor, wire.encode({"type": "refused", "reason": str(error)}))
        child = -1
    if child == 0:
        _child(
            descriptor,
            lambda: _start_with_rlimits(settings, message) if weak else _start_in_namespaces(settings, uid, gid),
        )
    os.close(descriptor)


def _child(descriptor: int, start: Callable[[], None]) -> NoReturn:
    """Run an episode's first process. Never returns to the loop of the fork server."""
    os.dup2(descriptor, _CHANNEL)
    try:
        start()
    except Exception as error:
        os.write(_CHANNEL, wire.encode({"type": "refused", "reason": f"{type(error).__name__}: {error}"}))
    finally:
        os._exit(0)


def _start_in_namespaces(settings: dict[str, Any], uid: int, gid: int) -> None:
    namespaces.set_up_episode(uid, gid, settings["scratch_mib"])
    channel = _close_other_descriptors()
    channel.sendall(wire.encode({"type": "init"}))
    if os.fork() == 0:
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        _run_interpreter(settings, channel, "/tmp", settings["max_processes"] + 1)
    channel.close()
    # This is process 1 of the episode: when it ends, the kernel kills all others.
    while True:
        signal.pause()


def _start_with_rlimits(settings: dict[str, Any], message: dict[str, Any]) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, 9)
    scratch = message["scratch"]
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if landlock.version():
        landlock.confine(settings["readable"], [scratch, "/dev/null"])
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    os.environ.update(HOME=scratch, TMPDIR=scratch)
    _run_interpreter(settings, _close_other_descriptors(), scratch, None)


def _run_interpreter(settings: dict[str, Any], channel: socket.socket, scratch: str, processes: int | None) -> None:
    working_folder = os.path.join(scratch, "work")
    os.mkdir(working_folder)
    os.chdir(working_folder)
    limits.apply_limits(settings["memory_bytes"], settings["scratch_mib"], processes)
    permit = int.from_bytes(os.urandom(8), "little")
    seccomp.install(permit, file_modes=settings["tier"] != "rlimits")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    Interpreter(channel, working_folder, permit).serve()


def _close_other_descriptors() -> socket.socket:
    """Close all descriptors except the episode's channel; 0, 1 and 2 become /dev/null."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(_CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=_CHANNEL)


def _receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive a packet from the worker; exit if the worker has closed the socket."""
    packet, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
    if not packet:
        os._exit(0)
    message: dict[str, Any] = json.loads(packet)
    return message, descriptors
