"""The worker's interface to an interpreter: run code, answer its calls, fork it and close it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rollout.tools.sandbox.channel import TEXT_NAMES, CallFrame, ResultFrame, TextName, channel_pair
from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.errors import ChannelBrokenError, ChannelTimeoutError, SandboxError
from rollout.tools.sandbox.process import Process, await_startup
from rollout.tools.sandbox.tools import ToolFunction, error_reply, handle_call

GRACE_S = 1.0
"""Time between the time limit, at which code is interrupted, and the end of its interpreter."""
_FORK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class CallResult:
    """Result of one piece of code.

    Attributes:
        stdout: standard output and standard error.
        value: repr of the last expression; None if there is none or its value is None.
        error: the error message in the wording of CodeAct's observations; None if the code succeeded.
        final_answer: the argument of ``final_answer`` as text; None if it was not called.
        timed_out: whether the code reached its time limit.
        lost: whether the interpreter died or was ended; its variables are gone and the next code starts a fresh one.
        cut: names of the texts that were truncated.
        tool_calls: number of calls of the worker's functions.
        elapsed_s: wall-clock seconds, including calls of the worker's functions.
    """

    stdout: str = ""
    value: str | None = None
    error: str | None = None
    final_answer: str | None = None
    timed_out: bool = False
    lost: bool = False
    cut: frozenset[TextName] = frozenset()
    tool_calls: int = 0
    elapsed_s: float = 0.0


class Session:
    """One episode's interpreter. Not thread-safe, but copies may run concurrently in other threads.

    Args:
        config: limits.
        new_process: starts a fresh interpreter; called now and after one was lost.
        tools: functions that code may call, by name.
        process: an interpreter to use instead of a fresh one.

    Raises:
        SandboxError: no interpreter can be started.
    """

    def __init__(
        self,
        config: SandboxConfig,
        new_process: Callable[[], Process],
        tools: Mapping[str, ToolFunction],
        process: Process | None = None,
    ) -> None:
        self._config = config
        self._new_process = new_process
        self._tools = dict(tools)
        self._process: Process | None = process or new_process()

    def run(self, code: str, time_limit_s: float | None = None) -> CallResult:
        """Run ``code`` and return its result, even if it fails or crashes.

        Args:
            code: Python source.
            time_limit_s: overrides the configured time limit.

        Raises:
            SandboxError: a lost interpreter cannot be replaced.
            Exception: any error of a tool other than `ToolError`; the interpreter is then lost.
        """
        if len(code) > self._config.max_code_chars:
            error = f"Code execution failed due to: the code is longer than {self._config.max_code_chars} characters"
            return CallResult(error=error)
        call = _Call(self._live_process(), self._config, self._tools, time_limit_s or self._config.time_limit_s)
        try:
            return call.run(code)
        except ChannelTimeoutError:
            self.close()
            return call.lost(f"TimeoutError: the code ran longer than {call.limit_s:g} s", timed_out=True)
        except ChannelBrokenError as error:
            self.close()
            return call.lost(f"the interpreter is lost: {error}")
        except BaseException:
            self.close()
            raise
        finally:
            if self._process is not None:
                self._process.stop()

    def fork(self, tools: Mapping[str, ToolFunction] | None = None) -> Session:
        """Copy the interpreter in its current state: variables, open files, and the files of its working folder.

        The copies are independent. Threads are not copied, and files elsewhere in the scratch folder are shared.

        Args:
            tools: functions that code may call in the copy; None uses the same.

        Raises:
            SandboxError: there is not enough memory, processes or scratch space for a copy.
        """
        process, folder = self._live_process(), f"copy-{secrets.token_hex(8)}"
        stale_folders, process.episode.stale_folders = process.episode.stale_folders, []
        channel, theirs = channel_pair(self._config.frame_limit_bytes())
        try:
            with theirs:
                process.resume()
                request = {"type": "fork", "folder": folder, "stale_folders": stale_folders}
                process.channel.send_descriptor(request, theirs.fileno())
            copy = Process(channel, await_startup(channel, "ready", _FORK_TIMEOUT_S), process.episode, folder)
        except (ChannelBrokenError, ChannelTimeoutError) as error:
            channel.close()
            raise SandboxError("the interpreter cannot be copied") from error
        except BaseException:
            channel.close()
            raise
        finally:
            process.stop()
        return Session(self._config, self._new_process, self._tools if tools is None else tools, copy)

    def close(self) -> None:
        """End the interpreter."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _live_process(self) -> Process:
        if self._process is None:
            self._process = self._new_process()
        return self._process


class _Call:
    """One piece of code that is running."""

    def __init__(
        self, process: Process, config: SandboxConfig, tools: Mapping[str, ToolFunction], limit_s: float
    ) -> None:
        self.limit_s = limit_s
        self._process = process
        self._config = config
        self._tools = tools
        self._id = secrets.token_hex(16)
        self._tool_calls = 0
        self._started = time.monotonic()
        self._deadline = self._started + limit_s + GRACE_S

    def run(self, code: str) -> CallResult:
        """Run the code. Raises `ChannelBrokenError` or `ChannelTimeoutError` if the interpreter must be ended."""
        channel = self._process.channel
        if channel.has_pending_input():
            raise ChannelBrokenError("it ended, or wrote to its result channel, between two calls")
        self._process.resume()
        channel.send(
            {
                "type": "run",
                "id": self._id,
                "code": code,
                "tools": list(self._tools),
                "time_limit_s": self.limit_s,
                "max_output_chars": self._config.max_output_chars,
            },
            self._deadline,
        )
        while True:
            frame = channel.receive(self._deadline)
            if frame.id != self._id:
                raise ChannelBrokenError("it answered a call that was not made")
            if isinstance(frame, ResultFrame):
                return self._result(frame)
            self._answer(frame)

    def lost(self, why: str, timed_out: bool = False) -> CallResult:
        """The result of code whose interpreter was ended."""
        return CallResult(
            error=f"Code execution failed due to: {why}; all variables are gone",
            timed_out=timed_out,
            lost=True,
            tool_calls=self._tool_calls,
            elapsed_s=time.monotonic() - self._started,
        )

    def _answer(self, frame: CallFrame) -> None:
        self._tool_calls += 1
        started = time.monotonic()
        limit = self._config.max_tool_calls
        if self._tool_calls > 2 * limit + 10:
            raise ChannelBrokenError("it does not stop calling functions")
        if self._tool_calls > limit:
            reply = error_reply(f"no more than {limit} calls of functions in one piece of code")
        else:
            function = self._tools.get(frame.name)
            reply = handle_call(function, frame.name, frame.arguments, self._config.max_tool_chars)
        # The time spent in the worker's functions does not count against the code.
        self._deadline += time.monotonic() - started
        self._process.channel.send(reply, self._deadline)

    def _result(self, frame: ResultFrame) -> CallResult:
        limit = self._config.max_output_chars
        texts = {name: getattr(frame, name) for name in TEXT_NAMES}
        return CallResult(
            **{name: text and text[:limit] for name, text in texts.items()},
            timed_out=frame.timed_out,
            cut=frozenset({*frame.cut, *(name for name, text in texts.items() if len(text or "") > limit)}),
            tool_calls=self._tool_calls,
            elapsed_s=time.monotonic() - self._started,
        )
