"""Processes on the sandbox's side, as the worker holds them: by descriptors that the kernel vouches for."""

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

_DEATH_S = 10.0


@dataclass(slots=True)
class Handle:
    """One process; its number cannot come to mean another while this is open."""

    descriptor: int

    @classmethod
    def of(cls, pid: int) -> Handle:
        """Raises `ChannelBrokenError` if the process has ended."""
        try:
            return cls(os.pidfd_open(pid))
        except OSError:
            raise ChannelBrokenError("it ended before it began") from None

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def kill(self) -> None:
        """End it, wait until it has ended, and let go."""
        if self.descriptor < 0:
            return
        self.signal(signal.SIGKILL)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.poll(_DEATH_S * 1000)
        os.close(self.descriptor)
        self.descriptor = -1


@dataclass(slots=True)
class Episode:
    """What the interpreters of one episode share: a first process whose end is theirs, or a scratch folder.

    It ends when the last of its interpreters does.
    """

    first: Handle | None = None
    scratch: str | None = None
    left: list[str] = field(default_factory=list)
    """Working folders of copies that have ended, below the scratch folder; the next copy clears them away."""
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
    """One interpreter. Between calls it is stopped, so that threads left behind by code cost nothing.

    ``folder`` is the name of a copy's working folder.
    """

    def __init__(self, channel: Channel, handle: Handle, episode: Episode, folder: str | None = None) -> None:
        self.channel = channel
        self.episode = episode
        self._folder = folder
        self._handle = handle
        episode.join()
        self.stop()

    def stop(self) -> None:
        self._handle.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._handle.signal(signal.SIGCONT)

    def close(self) -> None:
        self._handle.kill()
        self.channel.close()
        if self._folder is not None:
            self.episode.left.append(self._folder)
        self.episode.leave()


def greet(channel: Channel, expected: str, limit_s: float) -> Handle:
    """Wait for a new process to say ``expected``.

    Raises:
        ChannelBrokenError: it ended instead.
        ChannelTimeoutError: it says nothing.
        SandboxError: it says why it cannot begin.
    """
    body, pid = channel.greeting(time.monotonic() + limit_s)
    with suppress(ValueError, RecursionError):
        message = json.loads(body)
        if message == {"type": expected}:
            return Handle.of(pid)
        if isinstance(message, dict) and message.get("type") == "refused":
            raise SandboxError(f"no interpreter can be started: {str(message.get('reason'))[:200]}")
    raise ChannelBrokenError("it began with something that is no greeting")
