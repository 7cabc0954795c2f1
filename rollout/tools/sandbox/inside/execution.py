"""Runs one piece of code in a persistent namespace and captures its output, last value and error."""

from __future__ import annotations

import ast
import io
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import Any

FILENAME = "<code>"
_REPEAT_S = 0.1
"""Interval at which the alarm repeats, for code that catches the exception of the time limit."""


class TimeLimitError(BaseException):
    """The code ran too long."""


class FinalAnswer(BaseException):
    """The code called ``final_answer``."""

    def __init__(self, answer: object) -> None:
        self.answer = answer


class Capture(io.TextIOBase):
    """Replacement for standard output. Keeps the first ``limit`` characters and records whether there were more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._remaining = limit
        self.cut = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        kept = text[: self._remaining]
        self._parts.append(str(kept))
        self._remaining -= len(kept)
        self.cut = self.cut or len(kept) < len(text)
        if len(self._parts) > 1000:
            self._parts = ["".join(self._parts)]
        return len(text)

    def text(self) -> str:
        return "".join(self._parts)


@dataclass(slots=True)
class Outcome:
    """Result of the code. Absent texts are None; ``cut`` lists those that were truncated."""

    value: str | None = None
    error: str | None = None
    final_answer: str | None = None
    timed_out: bool = False
    cut: list[str] = field(default_factory=list)


class TimeLimit:
    """Wall-clock time limit of the code, paused while a function of the worker runs."""

    def __init__(self) -> None:
        self._running = False
        self._ended = True
        signal.signal(signal.SIGALRM, self._on_alarm)

    def start(self, limit_s: float) -> None:
        self._ended = False
        self.resume(limit_s)

    def pause(self) -> float:
        """Pause, and return the remaining seconds."""
        self._running = False
        return signal.setitimer(signal.ITIMER_REAL, 0)[0]

    def resume(self, left_s: float) -> None:
        """Continue after a pause, unless the code has ended meanwhile (one of its threads may still run)."""
        if not self._ended:
            self._running = True
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001), _REPEAT_S)

    def stop(self) -> None:
        self._ended = True
        self.pause()

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._running:
            raise TimeLimitError


def run(code: str, namespace: dict[str, Any], time_limit: TimeLimit, limit_s: float, limit_chars: int) -> Outcome:
    """Run ``code`` for at most ``limit_s`` seconds. Exceptions are returned as text."""
    outcome = Outcome()
    try:
        try:
            time_limit.start(limit_s)
            _run(code, namespace, outcome, limit_chars)
        finally:
            time_limit.stop()
    except TimeLimitError:
        outcome.timed_out = True
        outcome.value = outcome.final_answer = None
        outcome.error = f"Code execution failed due to: TimeoutError: the code ran longer than {limit_s:g} s"
    except BaseException as error:
        outcome.error = f"Code execution failed due to: {type(error).__name__}"
    return outcome


def _run(code: str, namespace: dict[str, Any], outcome: Outcome, limit: int) -> None:
    try:
        body, last = _parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        outcome.error = _cut(_parsing_error(error), "error", outcome, limit)
        return
    try:
        exec(body, namespace)  # noqa: S102  # the purpose of the sandbox
        if last is not None:
            value = eval(last, namespace)  # noqa: S307  # the same
            outcome.value = None if value is None else _cut(repr(value), "value", outcome, limit)
    except FinalAnswer as final:
        outcome.final_answer = _cut(str(final.answer), "final_answer", outcome, limit)
    except TimeLimitError:
        raise
    except BaseException as error:
        outcome.error = _cut(_execution_error(error, code), "error", outcome, limit)


def _parse(code: str) -> tuple[CodeType, CodeType | None]:
    """Compile the statements, and the last one separately if it is an expression."""
    tree, last = ast.parse(code, FILENAME), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = compile(ast.Expression(tree.body.pop().value), FILENAME, "eval")  # type: ignore[attr-defined]  # just checked
    return compile(tree, FILENAME, "exec"), last


def _parsing_error(error: Exception) -> str:
    if not isinstance(error, SyntaxError):
        return f"Code parsing failed due to: {type(error).__name__}: {error}"
    line, column = (error.text or "").rstrip("\n"), max((error.offset or 1) - 1, 0)
    return (
        f"Code parsing failed on line {error.lineno} due to: {type(error).__name__}\n{line}\n{' ' * column}^\n{error}"
    )


def _execution_error(error: BaseException, code: str) -> str:
    statement = _statement(code, *_position(error.__traceback__))
    place = f" at line '{statement}'" if statement else ""
    return f"Code execution failed{place} due to: {type(error).__name__}: {error}"


def _position(traceback: TracebackType | None) -> tuple[int, int]:
    """Line and column of the top-level statement that raised the error; (0, 0) if there is none."""
    while traceback is not None:
        running = traceback.tb_frame.f_code
        if running.co_filename == FILENAME and running.co_name == "<module>":
            line, _, column, _ = next(islice(running.co_positions(), traceback.tb_lasti // 2, None))
            return line or 0, column or 0
        traceback = traceback.tb_next
    return 0, 0


def _statement(code: str, line: int, column: int) -> str:
    spans = (
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0), node)
        for node in ast.parse(code, FILENAME).body
    )
    return next((ast.get_source_segment(code, node) or "" for a, b, node in spans if a <= (line, column) <= b), "")


def _cut(text: str, name: str, outcome: Outcome, limit: int) -> str:
    if len(text) > limit:
        outcome.cut.append(name)
    return str(text[:limit])


def capture_output(limit: int) -> Capture:
    """Replace standard output and standard error by a new capture."""
    capture = Capture(limit)
    sys.stdout = sys.stderr = capture
    return capture


def install_functions(namespace: dict[str, Any], functions: Mapping[str, Any]) -> None:
    """Put the worker's functions into the namespace, replacing any variables of the same names."""

    def final_answer(answer: object) -> None:
        raise FinalAnswer(answer)

    namespace.update(functions)
    namespace["final_answer"] = final_answer
