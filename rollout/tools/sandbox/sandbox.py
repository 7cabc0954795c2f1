"""The sandbox: a fork server and the interpreters that it starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from rollout.tools.sandbox import launch
from rollout.tools.sandbox.channel import Channel, channel_pair
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.errors import ChannelBrokenError, ChannelTimeoutError, SandboxError
from rollout.tools.sandbox.inside.wire import HEADER, encode
from rollout.tools.sandbox.process import EpisodeProcesses, Process, ProcessHandle, await_startup
from rollout.tools.sandbox.session import Session
from rollout.tools.sandbox.tools import ToolFunction

_START_TIMEOUT_S = 120.0
_EPISODE_START_TIMEOUT_S = 30.0
_LOG_BYTES = 2000


class Sandbox:
    """Starts interpreters through a fork server, which starts at the first session and is replaced if it dies.

    Sessions may be created from any thread. All processes end with `close` or with the worker's process, even if that
    is killed.

    Args:
        config: limits.
        tier: the tier chosen by `choose_tier`.
    """

    def __init__(self, config: SandboxConfig, tier: Tier) -> None:
        self.config = config
        self.tier = tier
        self._server: _ForkServer | None = None
        self._lock = Lock()

    def session(self, tools: Mapping[str, ToolFunction] | None = None) -> Session:
        """Start an interpreter for one episode. Its code can call ``tools``.

        Raises:
            SandboxError: the interpreter cannot be started.
            UserError: a package of the sandbox is not installed.
        """
        return Session(self.config, self._new_process, tools or {})

    def start(self) -> None:
        """Start the fork server now rather than at the first session. Raises as `session` does."""
        with self._lock:
            self._ensure_server()

    def close(self) -> None:
        """End the fork server and all interpreters."""
        with self._lock:
            if self._server is not None:
                self._server.close()
                self._server = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _new_process(self) -> Process:
        with self._lock:
            try:
                return self._ensure_server().new_process()
            except (ChannelBrokenError, ChannelTimeoutError, OSError):
                # The fork server has died, perhaps for lack of memory: retry once with a new one.
                if self._server is not None:
                    self._server.close()
                    self._server = None
            try:
                return self._ensure_server().new_process()
            except (ChannelBrokenError, ChannelTimeoutError, OSError) as error:
                raise SandboxError(f"no interpreter can be started: {error or 'it does not answer'}") from error

    def _ensure_server(self) -> _ForkServer:
        if self._server is None:
            self._server = _ForkServer(self.config, self.tier)
        return self._server


class _ForkServer:
    """A running fork server."""

    def __init__(self, config: SandboxConfig, tier: Tier) -> None:
        self._config = config
        self._tier = tier
        self._episodes = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._scratch = tempfile.mkdtemp(prefix="stillhouse-sandbox-") if tier is Tier.RLIMITS else None
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._handle: ProcessHandle | None = None
        self._child: subprocess.Popen[bytes] | None = None
        worker = os.pidfd_open(os.getpid())
        try:
            self._child = launch.start(config, tier, theirs.fileno(), worker, self._log.fileno())
            theirs.close()
            self._await_ready()
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(worker)

    def new_process(self) -> Process:
        """Start a fresh interpreter for a new episode.

        Raises:
            ChannelBrokenError, ChannelTimeoutError, OSError: the fork server has died or does not answer.
            SandboxError: the kernel refuses another process.
        """
        channel, theirs = channel_pair(self._config.frame_limit_bytes())
        scratch = self._episode_scratch()
        episode = EpisodeProcesses(scratch=scratch)
        try:
            with theirs:
                self._send({"type": "spawn", "scratch": scratch}, theirs.fileno())
            if self._tier is not Tier.RLIMITS:
                episode.first = await_startup(channel, "init", _EPISODE_START_TIMEOUT_S)
            return Process(channel, await_startup(channel, "ready", _EPISODE_START_TIMEOUT_S), episode)
        except BaseException:
            channel.close()
            episode.join()
            episode.leave()
            raise

    def close(self) -> None:
        self._control.close()
        if self._handle is not None:
            self._handle.kill()
        if self._child is not None:
            self._child.kill() if self._handle is None else None
            self._child.wait()
        self._log.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _await_ready(self) -> None:
        channel = Channel(self._control, 0)
        try:
            self._send(launch.settings(self._config, self._tier), None)
            self._handle = await_startup(channel, "ready", _START_TIMEOUT_S)
        except (ChannelBrokenError, ChannelTimeoutError, OSError) as error:
            raise SandboxError(f"the sandbox ({self._tier}) does not start: {self._last_log_line()}") from error

    def _send(self, message: Mapping[str, object], descriptor: int | None) -> None:
        packet = encode(message)[HEADER.size :]
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._control, [packet], descriptors)

    def _episode_scratch(self) -> str | None:
        if self._scratch is None:
            return None
        self._episodes += 1
        folder = Path(self._scratch, str(self._episodes))
        folder.mkdir()
        return str(folder)

    def _last_log_line(self) -> str:
        """The last line that the fork server or its launcher wrote to the log."""
        if self._child is not None:
            try:
                self._child.wait(1)
            except subprocess.TimeoutExpired:
                return "it does not answer"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - _LOG_BYTES, 0))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without output"
