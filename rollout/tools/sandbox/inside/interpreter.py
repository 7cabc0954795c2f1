"""One episode's interpreter: serves requests on its channel until the worker closes it.

The code runs in the same process and can modify it arbitrarily, so nothing here provides security. The worker
validates all output, and the kernel confines the process.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from rollout.tools.sandbox.inside import libc, seccomp, wire
from rollout.tools.sandbox.inside.execution import TimeLimit, capture_output, install_functions, run

_EXCEPTIONS = {"TypeError": TypeError, "ValueError": ValueError, "RuntimeError": RuntimeError}


@dataclass(slots=True)
class Interpreter:
    """State of one interpreter.

    Attributes:
        channel: channel to the worker.
        home: initial working directory of the code; forking copies it.
        permit: number that a clone call must pass to be allowed by seccomp.
        namespace: variables of the code.
    """

    channel: socket.socket
    working_folder: str
    permit: int
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    time_limit: TimeLimit = field(default_factory=TimeLimit)
    lock: Any = field(default_factory=Lock)
    call: str = ""
    """Id of the call that is running; empty between calls."""

    def serve(self) -> None:
        """Serve requests until the worker closes the channel."""
        wire_receive, execute, copy = wire.receive, self._execute, self._fork
        self.send({"type": "ready"})
        while True:
            try:
                message, descriptors = wire_receive(self.channel)
            except (EOFError, OSError):
                os._exit(0)
            if message["type"] == "run":
                execute(message)
            elif descriptors:
                copy(descriptors[0], message["folder"], message["stale_folders"])

    def send(self, message: dict[str, Any]) -> None:
        self.channel.sendall(wire.encode(message))

    def _execute(self, message: dict[str, Any]) -> None:
        limit = message["max_output_chars"]
        install_functions(self.namespace, {name: self._tool(name) for name in message["tools"]})
        capture = capture_output(limit)
        self.call = message["id"]
        outcome = run(message["code"], self.namespace, self.time_limit, message["time_limit_s"], limit)
        with self.lock:
            self.call = ""
        self.send(
            {
                "type": "result",
                "id": message["id"],
                "stdout": capture.text(),
                "value": outcome.value,
                "error": outcome.error,
                "final_answer": outcome.final_answer,
                "timed_out": outcome.timed_out,
                "cut": [*outcome.cut, *(["stdout"] if capture.cut else [])],
            }
        )

    def _tool(self, name: str) -> Callable[..., Any]:
        def tool(*arguments: Any, **keywords: Any) -> Any:
            left_s = self.time_limit.pause()
            try:
                return self._call_worker(name, arguments, keywords)
            finally:
                self.time_limit.resume(left_s)

        tool.__name__ = tool.__qualname__ = name
        return tool

    def _call_worker(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call a function of the worker. Calls from threads are refused after their code has ended."""
        with self.lock:
            if not self.call:
                raise RuntimeError("a function of the worker was called after the code had ended")
            text = json.dumps([arguments, keywords], allow_nan=False)
            self.send({"type": "call", "id": self.call, "name": name, "arguments": text})
            answer, _ = wire.receive(self.channel)
        if answer["error"] is not None:
            raise _EXCEPTIONS.get(answer["error_type"], RuntimeError)(answer["error"])
        return answer["value"]

    def _fork(self, descriptor: int, folder: str, stale_folders: list[str]) -> None:
        """Fork a sibling process that serves requests on ``descriptor`` and works in ``folder``.

        ``stale_folders`` are folders of siblings that have ended; they are deleted.
        """
        scratch = os.path.dirname(self.working_folder)
        for name in stale_folders:
            shutil.rmtree(os.path.join(scratch, name), ignore_errors=True)
        if libc.raw_clone(seccomp.FORK_FLAGS, self.permit):
            os.close(descriptor)
            return
        libc.prctl(libc.PR_SET_PDEATHSIG, 9)
        os.dup2(descriptor, self.channel.fileno(), inheritable=False)
        os.close(descriptor)
        self.lock = Lock()
        working_folder = os.path.join(scratch, folder)
        shutil.copytree(self.working_folder, working_folder, symlinks=True)
        os.chdir(working_folder)
        self.working_folder = working_folder
        self.send({"type": "ready"})
