"""Child process of `rollout.environments.math.grading.verify`: runs math-verify and exchanges JSON lines.

It is started by file name, so it imports no other module of the project. A request is
``{"answer", "right", "cpu_limit_s"}``; the reply is ``{"same": true | false}``, or ``null`` for the value if the check
exceeded its time or memory limit or failed. A forked worker serves the requests, since math-verify is an order of
magnitude faster with warm caches. The CPU time of each request is limited, so a verdict does not depend on the load of
the machine. A worker that exceeds a limit dies; the next request gets a new one, with the caches of this process.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any, TextIO

import psutil

_MEMORY_BYTES = 2 << 30
"""Address space of a worker beyond that of this process, in bytes."""
_REQUESTS = 500
"""Requests of a worker, after which it is replaced: the caches of sympy grow."""
_GROWTH_BYTES = 256 << 20
"""Growth of a worker's address space after which it is replaced."""
_WARM_UP = (
    ("1", "1"),
    (r"\frac{\sqrt{3}}{2} + 2\pi", r"\sqrt{3}/2"),
    (r"x^2 + 2xy - 1", "(x+1)^2"),
    (r"\begin{pmatrix} 1 & -2 \\ 3 & \frac{1}{2} \end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\left( 1, \frac{2}{3} \right]", r"(-\infty, 2) \cup [3, \infty)"),
    (r"\{1, 2, 3\}", "x \\le 3"),
    (r"x = 2, y = -3", r"1, 2"),
)

Judge = Callable[[str, str], bool]


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = _private_stdout()
    logging.disable(logging.CRITICAL)
    worker = Worker(_load())
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps({"same": worker.ask(line)}) + "\n")
        answers.flush()


class Worker:
    """A fork of this process that judges; it is replaced when it has ended."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._process = 0

    def ask(self, line: str) -> bool | None:
        """Verdict on a request; None if the worker died of it."""
        if not self._process:
            self._start()
        self._requests.write(line)
        self._requests.flush()
        reply = os.read(self._replies, 2)  # empty once the worker has died
        if reply[1:] != b"+":
            self._end()
        return {b"1": True, b"0": False}.get(reply[:1])

    def _start(self) -> None:
        reader, writer = os.pipe()
        replies, reply_writer = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(writer)
            os.close(replies)
            _serve(self._judge, os.fdopen(reader, encoding="utf-8"), reply_writer)
        os.close(reader)
        os.close(reply_writer)
        self._requests, self._replies = os.fdopen(writer, "w", encoding="utf-8"), replies

    def _end(self) -> None:
        self._requests.close()
        os.close(self._replies)
        os.waitpid(self._process, 0)
        self._process = 0


def _serve(judge: Judge, requests: TextIO, replies: int) -> None:
    """Judge requests in a fork. The second byte of a reply tells whether the worker goes on."""
    sys.excepthook = lambda *_: os._exit(1)
    own = psutil.Process()
    start = own.memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (start + _MEMORY_BYTES, start + _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for served, line in enumerate(requests, 1):
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_limit_s"])  # has no handler, so it also ends C code
        verdict = judge(request["answer"], request["right"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        more = served < _REQUESTS and own.memory_info().vms < start + _GROWTH_BYTES
        os.write(replies, (b"1" if verdict else b"0") + (b"+" if more else b"."))
        if not more:
            break
    os._exit(0)


def _load() -> Judge:
    """Import math-verify and fill its caches.

    It only reads the box that it is given, so it takes no number out of a text that it cannot parse, and keeps letters
    at the end, which it would drop as units: ``2m`` is not 2.
    """
    library: Any = import_module("math_verify")
    latex = library.LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0)
    latex = replace(latex, normalization_config=replace(latex.normalization_config, units=False))

    def judge(answer: str, right: str) -> bool:
        theirs, ours = (library.parse(rf"\boxed{{{text}}}", [latex], parsing_timeout=None) for text in (right, answer))
        return bool(library.verify(theirs, ours, timeout_seconds=None))

    for answer, right in _WARM_UP:
        judge(answer, right)
    return judge


def _private_stdout() -> TextIO:
    """Reserve the pipe to the parent: output of libraries is redirected to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
