"""The child process of `rollout.environments.math.grading.verify`: hosts math-verify, speaks JSON lines over its pipes.

Started by file name, so it imports nothing of ours. A request is ``{"answer", "right", "cpu_limit_s"}``; the answer
``{"same": true | false}``, or ``null`` for the value if it took too long, used too much memory or broke. Every request
is judged in a fork that its CPU time limits, so that this process stays warm and unharmed, and a busy machine changes
no verdict.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from importlib import import_module
from typing import Any, TextIO

import psutil

_MEMORY_BYTES = 2 << 30
"""Address space that a fork may have beyond what this process has."""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = _private_stdout()
    logging.disable(logging.CRITICAL)
    judge = _load()
    judge("1", "1")
    judge(r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2")  # fills caches that forks share
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        same = _in_fork(judge, request["answer"], request["right"], request["cpu_limit_s"])
        answers.write(json.dumps({"same": same}) + "\n")
        answers.flush()


def _load() -> Any:
    library: Any = import_module("math_verify")

    def judge(answer: str, right: str) -> bool:
        theirs = library.parse(rf"\boxed{{{right}}}", parsing_timeout=None)
        ours = library.parse(rf"\boxed{{{answer}}}", parsing_timeout=None)
        return bool(library.verify(theirs, ours, timeout_seconds=None))

    return judge


def _in_fork(judge: Any, answer: str, right: str, cpu_limit_s: float) -> bool | None:
    reader, writer = os.pipe()
    fork = os.fork()
    if fork == 0:
        _limit(cpu_limit_s)
        os.write(writer, b"1" if judge(answer, right) else b"0")
        os._exit(0)
    os.close(writer)
    verdict = os.read(reader, 1)  # empty once the fork has died
    os.close(reader)
    os.waitpid(fork, 0)
    return {b"1": True, b"0": False}.get(verdict)


def _limit(cpu_limit_s: float) -> None:
    """Bounds on a fork; whatever breaks it is silent. SIGPROF is not handled, so it ends the fork within C code too."""
    sys.excepthook = lambda *_: os._exit(1)
    signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
    limit = psutil.Process().memory_info().vms + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _private_stdout() -> TextIO:
    """Keep the pipe to the parent to ourselves: what a library prints goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
