"""Judges answers: our own exact comparison first, then math-verify in a guarded process.

math-verify (Apache-2.0) parses LaTeX into sympy and compares there; on hostile text it can run for hours or eat all
memory, so it never runs in our own process. One warm process serves all environments of a worker.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from rollout.environments.math.grading.answers import same_answer
from rollout.environments.math.grading.notation import plain
from rollout.errors import UserError

_CHILD = Path(__file__).with_name("verify_child.py")
_START_TIMEOUT_S = 300.0
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG")
_GRACE_S = 60.0
"""The process itself limits a question's CPU time; this much later, on the clock, it is taken for hung and killed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and who decided: our own comparison, math-verify, or the limit on its cost."""

    correct: bool
    by: Literal["exact", "math-verify", "limit"]


class AnswerChecker:
    """Judges answers; thread-safe, one question at a time goes to the guarded process.

    Args:
        cpu_limit_s: CPU time for one answer; one that needs more counts as wrong.

    Raises:
        UserError: math-verify is not installed.
    """

    def __init__(self, cpu_limit_s: float = 3.0) -> None:
        if not installed():
            raise UserError("math-verify is not installed; run: pip install 'math-verify[antlr4-13-2]'")
        self.cpu_limit_s = cpu_limit_s
        self.restarts = 0
        """Times that the process had to be replaced."""
        self._lock = Lock()
        self._child: _Child | None = None

    def check(self, answer: str, right: str) -> Verdict:
        """Judge ``answer`` against ``right``. Never raises, whatever the texts."""
        same = same_answer(answer, right)
        if same is not None:
            return Verdict(same, "exact")
        return self.verify(answer, right)

    def verify(self, answer: str, right: str) -> Verdict:
        """Judge by math-verify alone."""
        with self._lock:
            same = self._ask(plain(answer), plain(right)) if self._alive() else None
        return Verdict(bool(same), "limit" if same is None else "math-verify")

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()

    def _alive(self) -> bool:
        """Whether there is a process to ask, started now if need be."""
        if self._child is None:
            child = _Child()
            if child.line(_START_TIMEOUT_S) is None:
                child.stop()
                return False
            self._child = child
        return True

    def _ask(self, answer: str, right: str) -> bool | None:
        assert self._child is not None
        request = {"answer": answer, "right": right, "cpu_limit_s": self.cpu_limit_s}
        line = self._child.ask(json.dumps(request), self.cpu_limit_s + _GRACE_S)
        if line is None:
            self._stop()
            self.restarts += 1
            return None
        same = json.loads(line)["same"]
        return same if isinstance(same, bool) else None

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
        self._child = None


def installed() -> bool:
    """Whether math-verify is here; it is not imported."""
    return all(importlib.util.find_spec(package) for package in ("math_verify", "latex2sympy2_extended", "antlr4"))


_shared: dict[float, AnswerChecker] = {}
_shared_lock = Lock()


def shared_checker(cpu_limit_s: float) -> AnswerChecker:
    """The checker that all environments of this process share, one for each limit; it ends with the process."""
    with _shared_lock:
        if cpu_limit_s not in _shared:
            _shared[cpu_limit_s] = AnswerChecker(cpu_limit_s)
            atexit.register(_shared[cpu_limit_s].close)
        return _shared[cpu_limit_s]


class _Child:
    """One child process. Requests and answers are JSON, one a line; None stands for no answer."""

    def __init__(self) -> None:
        # -P: the child's own folder must not shadow modules of math-verify.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},  # no secrets of ours
            start_new_session=True,  # an interrupt at the terminal is for us, not for it
        )
        self._buffer = b""

    def ask(self, request: str, timeout_s: float) -> str | None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self.line(timeout_s)

    def line(self, timeout_s: float) -> str | None:
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    return None
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return None
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
