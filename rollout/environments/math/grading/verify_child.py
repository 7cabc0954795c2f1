"""Child process of `rollout.environments.math.grading.verify`: runs math-verify and exchanges JSON lines.

It is started by file name, so it imports no other module of the project. A request is
``{"answer", "right", "cpu_limit_s"}``; the reply is ``{"same": true | false}``, or ``null`` for the value if the check
exceeded its time or memory limit or failed. Every request runs in a fork with limited CPU time, so this process stays
warm and intact, and the verdict does not depend on the load of the machine.
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
"""Address space of a fork beyond that of this process, in bytes."""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = _private_stdout()
    logging.disable(logging.CRITICAL)
    judge = _load()
    judge("1", "1")
    judge(r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2")  # fills caches shared by the forks
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
    """Set the limits of a fork; its failures print nothing. SIGPROF has no handler, so it also ends C code."""
    sys.excepthook = lambda *_: os._exit(1)
    signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
    limit = psutil.Process().memory_info().vms + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _private_stdout() -> TextIO:
    """Reserve the pipe to the parent: output of libraries is redirected to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
