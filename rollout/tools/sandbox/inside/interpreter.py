"""One episode's interpreter: it answers the worker on its channel until the worker goes.

The code that it runs lives in the same process and can do to it what it likes; so nothing here protects anyone. The
worker believes no byte of what comes out, and the kernel keeps the process where it is.
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
from rollout.tools.sandbox.inside.execution import Clock, captured, reserved, run

_EXCEPTIONS = {"TypeError": TypeError, "ValueError": ValueError, "RuntimeError": RuntimeError}


@dataclass(slots=True)
class Interpreter:
    """State of one interpreter.

    Attributes:
        channel: to the worker.
        home: the folder where code starts, copied when the interpreter is.
        permit: what a clone must carry to be let through by seccomp.
        namespace: the variables of the code.
    """

    channel: socket.socket
    home: str
    permit: int
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    clock: Clock = field(default_factory=Clock)
    lock: Any = field(default_factory=Lock)
    call: str = ""
    """The worker's number for the code that runs now; empty between calls."""

    def serve(self) -> None:
        """Answer until the worker closes the channel."""
        wire_receive, execute, copy = wire.receive, self._execute, self._copy
        self.send({"type": "ready"})
        while True:
            try:
                message, descriptors = wire_receive(self.channel)
            except (EOFError, OSError):
                os._exit(0)
            if message["type"] == "run":
                execute(message)
            elif descriptors:
                copy(descriptors[0], message["folder"], message["left"])

    def send(self, message: dict[str, Any]) -> None:
        self.channel.sendall(wire.encode(message))

    def _execute(self, message: dict[str, Any]) -> None:
        limit = message["max_output_chars"]
        reserved(self.namespace, {name: self._tool(name) for name in message["tools"]})
        capture = captured(limit)
        self.call = message["id"]
        outcome = run(message["code"], self.namespace, self.clock, message["time_limit_s"], limit)
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
            left_s = self.clock.pause()
            try:
                return self._ask(name, arguments, keywords)
            finally:
                self.clock.resume(left_s)

        tool.__name__ = tool.__qualname__ = name
        return tool

    def _ask(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What the worker says to a call of its function; a thread that outlived its code is refused."""
        with self.lock:
            if not self.call:
                raise RuntimeError("a function of the worker was called after the code had ended")
            text = json.dumps([arguments, keywords], allow_nan=False)
            self.send({"type": "call", "id": self.call, "name": name, "arguments": text})
            answer, _ = wire.receive(self.channel)
        if answer["error"] is not None:
            raise _EXCEPTIONS.get(answer["error_type"], RuntimeError)(answer["error"])
        return answer["value"]

    def _copy(self, descriptor: int, folder: str, left: list[str]) -> None:
        """Go on twice: here, and in a sibling process that answers on ``descriptor`` and works in ``folder``.

        ``left`` are folders of siblings that have ended.
        """
        scratch = os.path.dirname(self.home)
        for name in left:
            shutil.rmtree(os.path.join(scratch, name), ignore_errors=True)
        if libc.raw_clone(seccomp.FORK_FLAGS, self.permit):
            os.close(descriptor)
            return
        libc.prctl(libc.PR_SET_PDEATHSIG, 9)
        os.dup2(descriptor, self.channel.fileno(), inheritable=False)
        os.close(descriptor)
        self.lock = Lock()
        home = os.path.join(scratch, folder)
        shutil.copytree(self.home, home, symlinks=True)
        os.chdir(home)
        self.home = home
        self.send({"type": "ready"})
