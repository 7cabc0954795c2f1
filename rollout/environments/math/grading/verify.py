"""Checks answers: plain numbers, units and words by exact comparison, all else by math-verify in a guarded process.

math-verify (Apache-2.0) parses LaTeX into sympy and compares there. On hostile text it can run for hours or use all
memory, so it runs in a child process. One warm process serves all environments of a worker.
"""

from __future__ import annotations

import atexit
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from rollout.child_process import ChildProcess
from rollout.environments.math.grading.answers import Question, compare, library_text
from rollout.environments.math.grading.notation import answer_in, bare
from rollout.errors import UserError

_CHILD = Path(__file__).with_name("verify_child.py")
_START_TIMEOUT_S = 300.0
_GRACE_S = 60.0
"""Wall time beyond the CPU limit, which the process enforces itself, after which it counts as hung and is killed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and what decided: the exact comparison, math-verify, or the CPU limit."""

    correct: bool
    by: Literal["exact", "math-verify", "limit"]


class AnswerChecker:
    """Checks answers. Thread-safe; the guarded process handles one request at a time.

    Args:
        cpu_limit_s: limit on the CPU time for one answer; an answer that exceeds it counts as wrong.

    Raises:
        UserError: math-verify is not installed.
    """

    def __init__(self, cpu_limit_s: float = 3.0) -> None:
        if not installed():
            raise UserError("math-verify is not installed; run: pip install 'math-verify[antlr4-13-2]'")
        self.cpu_limit_s = cpu_limit_s
        self.restarts = 0
        """Number of times that the process was replaced."""
        self._lock = Lock()
        self._child = ChildProcess(_CHILD, "math-verify", start_timeout_s=_START_TIMEOUT_S)

    def check(self, answer: str, right: str) -> Verdict:
        """Check ``answer`` against ``right``. Raises no exception for any texts."""
        verdict = compare(answer, right)
        return self._verify(verdict) if isinstance(verdict, Question) else Verdict(verdict, "exact")

    def verify(self, answer: str, right: str) -> Verdict:
        """Check by math-verify alone."""
        return self._verify(Question(library_text(answer_in(answer)), library_text(bare(right))))

    def _verify(self, question: Question) -> Verdict:
        request = {"answer": question.answer, "right": question.right, "cpu_limit_s": self.cpu_limit_s}
        with self._lock:
            same = self._ask(request)
        return Verdict(bool(same), "limit" if same is None else "math-verify")

    def close(self) -> None:
        """Stop the process; the next request starts another."""
        with self._lock:
            self._child.stop()

    def _ask(self, request: dict[str, object]) -> bool | None:
        try:
            self._child.start()
        except (TimeoutError, ChildProcessError):
            return None
        try:
            same = self._child.ask(request, self.cpu_limit_s + _GRACE_S)["same"]
        except (TimeoutError, ChildProcessError):
            self.restarts += 1
            return None
        return same if isinstance(same, bool) else None


def installed() -> bool:
    """Whether math-verify is installed. Does not import it."""
    return all(importlib.util.find_spec(package) for package in ("math_verify", "latex2sympy2_extended", "antlr4"))


_shared: dict[float, AnswerChecker] = {}
_shared_lock = Lock()


def shared_checker(cpu_limit_s: float) -> AnswerChecker:
    """The checker that all environments of this process share, one per limit; it is closed at exit."""
    with _shared_lock:
        if cpu_limit_s not in _shared:
            _shared[cpu_limit_s] = AnswerChecker(cpu_limit_s)
            atexit.register(_shared[cpu_limit_s].close)
        return _shared[cpu_limit_s]
