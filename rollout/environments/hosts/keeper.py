"""The script of a host: a keeper process that forks the host, and leaves no process behind when either side ends.

    worker ──starts──▶ keeper ──forks──▶ host ──may fork──▶ processes of environments

The keeper runs no code of environments, so it cannot hang. Orphans of its descendants become its own children (Linux: a
"child subreaper"), so it finds all of them. It ends with the exit code of the host. This file is started by its path
and imports nothing of this project before the fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time

GRACE_S = 7.0
"""Time for a host to end by itself after the worker has closed the pipe; its environments have less to close."""
_POLL_S = 1.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Fork the host and keep it."""
    worker = os.getppid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper, host = os.getpid(), os.fork()
    if host == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:
            _serve()
        return
    code = _wait(host, worker)
    _kill_descendants()
    os._exit(code & 0xFF)


def _serve() -> None:
    """Take the pipes, so that neither output nor processes of environments use them, and serve."""
    requests, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "rb"), (1, "wb")))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.register_at_fork(after_in_child=lambda: [os.dup2(null, pipe.fileno()) for pipe in (requests, answers)])
    line = requests.readline()
    if not line:
        return
    hello = json.loads(line)
    sys.path[:] = hello["import_path"]
    from rollout.environments.hosts.serve import run
    from rollout.environments.hosts.wire import Hello

    run(Hello.model_validate(hello), requests, answers)


def _wait(host: int, worker: int) -> int:
    """Wait for the end of the host; returns its exit code, negative for a signal.

    Kills it at once at SIGTERM, and after a grace period if the worker has closed the pipe or has ended.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.kill(host, signal.SIGKILL))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the worker reads the end of the answers when the host has ended
    events, kill_at_s = select.poll(), float("inf")
    events.register(0, 0)  # reports only that the other end is closed
    events.register(children := _child_events(), select.POLLIN)
    while True:
        while (ended := _reap()) is not None:
            if ended[0] == host:
                return ended[1]
        seen = dict(events.poll(1000 * _POLL_S))
        if children in seen:
            os.read(children, 1 << 10)
        if kill_at_s == float("inf") and (0 in seen or os.getppid() != worker):
            kill_at_s = time.monotonic() + GRACE_S
            events.unregister(0)
        if time.monotonic() >= kill_at_s:
            os.kill(host, signal.SIGKILL)


def _child_events() -> int:
    """A file descriptor that is readable after the end of a child."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _reap() -> tuple[int, int] | None:
    """A child that has ended, and its exit code; None if none has."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _kill_descendants() -> None:
    """Kill all processes below this one; those whose parents end meanwhile become children of this one."""
    import psutil

    me = psutil.Process()
    while children := me.children(recursive=True):
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        while _reap() is not None:
            pass
        time.sleep(0.01)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


if __name__ == "__main__":
    main()
