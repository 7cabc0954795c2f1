"""Processes of the sandbox, which the worker refers to by process file descriptors."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from rollout.tools.sandbox.channel import Channel
from rollout.tools.sandbox.errors import ChannelBrokenError, SandboxError

_KILL_TIMEOUT_S = 10.0


@dataclass(slots=True)
class ProcessHandle:
    """A process file descriptor; it keeps referring to the same process even if the process id is reused."""

    descriptor: int

    @classmethod
    def open(cls, pid: int) -> ProcessHandle:
        """Open the descriptor of a process. Raises `ChannelBrokenError` if the process has ended."""
        try:
            return cls(os.pidfd_open(pid))
        except OSError:
            raise ChannelBrokenError("it ended before it began") from None

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def kill(self) -> None:
        """Kill the process, wait until it has ended, and close the descriptor."""
        if self.descriptor < 0:
            return
        self.signal(signal.SIGKILL)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.poll(_KILL_TIMEOUT_S * 1000)
        os.close(self.descriptor)
        self.descriptor = -1


@dataclass(slots=True)
class EpisodeProcesses:
    """Resources shared by the interpreters of one episode: an init process that they end with, or a scratch folder.

    They are released when the last interpreter leaves.
    """

    first: ProcessHandle | None = None
    scratch: str | None = None
    stale_folders: list[str] = field(default_factory=list)
    """Working folders of copies that have ended, below the scratch folder; the next copy deletes them."""
    _members: int = 0
    _lock: Lock = field(default_factory=Lock)

    def join(self) -> None:
        with self._lock:
            self._members += 1

    def leave(self) -> None:
        with self._lock:
            self._members -= 1
            last = self._members == 0
        if last and self.first is not None:
            self.first.kill()
        if last and self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


class Process:
    """One interpreter. It is stopped between calls, so that threads left behind by code use no CPU time.

    ``folder`` is the name of a copy's working folder.
    """

    def __init__(
        self, channel: Channel, handle: ProcessHandle, episode: EpisodeProcesses, folder: str | None = None
    ) -> None:
        self.channel = channel
        self.episode = episode
        self._folder = folder
        self._handle = handle
        episode.join()
        self.stop()

    def stop(self) -> None:
        self._handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._handle.signal(signal.SIGCONT)

    def close(self) -> None:
        self._handle.kill()
        self.channel.close()
        if self._folder is not None:
            self.episode.stale_folders.append(self._folder)
        self.episode.leave()


def await_startup(channel: Channel, expected: str, limit_s: float) -> ProcessHandle:
    """Wait until a new process sends ``expected``.

    Raises:
        ChannelBrokenError: the process ended or sent something else.
        ChannelTimeoutError: the process sent nothing.
        SandboxError: the process reported that it cannot start.
    """
    body, pid = channel.receive_startup(time.monotonic() + limit_s)
    with suppress(ValueError, RecursionError):
        message = json.loads(body)
        if message == {"type": expected}:
            return ProcessHandle.open(pid)
        if isinstance(message, dict) and message.get("type") == "refused":
            raise SandboxError(f"no interpreter can be started: {str(message.get('reason'))[:200]}")
    raise ChannelBrokenError("it began with something that is no greeting")
