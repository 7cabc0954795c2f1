"""A child process for code that may hang, crash or exhaust memory: JSON lines both ways, a limit on every answer."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR")
_EXIT_TIMEOUT_S = 10.0
"""Time for a process to end after it has closed its stdout."""


class ChildProcess:
    """Runs a script that answers each line of JSON on its stdin by one on its stdout.

    The child starts with the first request and again after `stop`. It sees no other environment variables than it
    needs, so no secrets, and no interrupt of the terminal; it ends when its stdin closes, so with its parent.

    Args:
        script: started by its path, so it imports nothing of this package.
        name: what runs in it, for messages.
        start_timeout_s: time for its first line, which says that it is ready; None if it has none.
        environment: names of further environment variables that it gets.
        keep_stderr: the message of a dead child ends with its last words; else what it writes there is dropped.
    """

    def __init__(
        self,
        script: Path,
        name: str,
        *,
        start_timeout_s: float | None = None,
        environment: tuple[str, ...] = (),
        keep_stderr: bool = False,
    ) -> None:
        self._script, self._name = script, name
        self._start_timeout_s = start_timeout_s
        self._environment = (*_ENVIRONMENT, *environment)
        self._keep_stderr = keep_stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = b""

    def ask(self, request: Mapping[str, object], timeout_s: float) -> Any:
        """The answer to ``request``. A child that fails is killed; the next request starts another.

        Raises:
            TimeoutError: it gave no answer within ``timeout_s``, or did not start within its limit.
            ChildProcessError: it ended, or answered something that is no JSON.
        """
        try:
            process = self._process or self._start()
            self._write(process, request)
            return self._read(process, timeout_s)
        except BaseException:  # also an interrupt: its answer must not be taken for that to the next request
            self.stop()
            raise

    def start(self) -> None:
        """Start the child unless it runs. Raises as `ask` does."""
        try:
            if self._process is None:
                self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._stderr is not None:
            self._stderr.close()
        self._process, self._stderr, self._buffer = None, None, b""

    def _start(self) -> subprocess.Popen[bytes]:
        self._stderr = tempfile.TemporaryFile() if self._keep_stderr else None  # noqa: SIM115 - lives as long as it
        # -P: the script's own folder must not shadow modules of what it hosts.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(self._script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr or subprocess.DEVNULL,
            env={name: os.environ[name] for name in self._environment if name in os.environ},
            start_new_session=True,
        )
        if self._start_timeout_s is not None:
            self._read(self._process, self._start_timeout_s)
        return self._process

    def _write(self, process: subprocess.Popen[bytes], request: Mapping[str, object]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise ChildProcessError(self._obituary(process)) from error

    def _read(self, process: subprocess.Popen[bytes], timeout_s: float) -> Any:
        assert process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    raise TimeoutError(f"{self._name} gave no answer within {timeout_s:g} s")
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise ChildProcessError(self._obituary(process))
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ChildProcessError(f"{self._name} answered something that is no JSON: {line[:80]!r}") from error

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        try:
            process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it only closed its stdout
            process.kill()
        text = f"the process of {self._name} ended with code {process.wait()}"
        if self._stderr is None:
            return text
        self._stderr.seek(0)
        last = self._stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"{text}: {last}"
