"""A host process as its worker sees it: calls with a limit on each, and its end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

import psutil

from rollout.environments.hosts.config import HostPolicy
from rollout.environments.hosts.keeper import GRACE_S
from rollout.environments.hosts.wire import Hello, Request, decode_error, decode_result
from rollout.errors import InfrastructureError

_KEEPER = Path(__file__).with_name("keeper.py")
_MARK = "STILLHOUSE_HOST"
"""Environment variable by which the processes of a host are found if its keeper was killed."""
_REAP_TIMEOUT_S = 5.0
"""Time for the keeper to kill what the environments have started, after its host has ended."""


class HostProcess:
    """A process that runs environments of one config. Thread-safe.

    Args:
        hello: what it starts with.
        policy: its limits.
    """

    def __init__(self, hello: Hello, policy: HostPolicy) -> None:
        self._name, self._policy = f"the host process of {hello.config.get('type')}", policy
        self._mark = uuid4().hex
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, _MARK: self._mark},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._lock, self._write_lock, self._numbers = Lock(), Lock(), count(1)
        self._pending: dict[int, tuple[str, Future[Any]]] = {}
        self._leaked: set[int] = set()
        self._death = ""
        self.environments: set[int] = set()
        """Environments that were created and not closed."""
        self.episodes = 0
        """Episodes that have started."""
        self._reader = Thread(target=self._read, daemon=True, name="host")
        self._reader.start()
        self._send(hello.model_dump(mode="json"))

    @property
    def is_alive(self) -> bool:
        return not self._death

    @property
    def has_ended(self) -> bool:
        """Whether the process of a stopped host is gone."""
        return self._process.poll() is not None

    @property
    def takes_episodes(self) -> bool:
        """Whether further episodes may start; once false, it stays so unless calls that leaked return."""
        policy = self._policy
        is_worn = self.episodes >= policy.recycle_after_episodes or len(self._leaked) >= policy.max_leaked_calls
        return self.is_alive and not is_worn

    @property
    def has_room(self) -> bool:
        """Whether a further environment may be created."""
        return self.takes_episodes and len(self.environments) < self._policy.max_environments

    def begin(self, method: str, environment: int, *arguments: object) -> tuple[int, Future[Any]]:
        """Send a call; returns its number, and the future of its result. Raises `InfrastructureError` if it is dead."""
        future: Future[Any] = Future()
        with self._lock:
            self._require_alive()
            number = next(self._numbers)
            self._pending[number] = method, future
        request = Request(id=number, environment=environment, method=method, arguments=arguments)
        self._send(request.model_dump(mode="json"))
        return number, future

    def wait(self, number: int, future: Future[Any], timeout_s: float) -> Any:
        """The result of a call.

        Raises:
            TimeoutError: there is none within ``timeout_s``. The call counts as leaked until it returns. If the process
                gives no sign of life either, it is killed.
            InfrastructureError: the process has ended.
            EpisodeError, UserError: the environment raised an exception.
        """
        try:
            return future.result(timeout_s)
        except TimeoutError:
            self.give_up(number)
            self.require_answer()
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None

    def call(self, method: str, environment: int, *arguments: object, timeout_s: float) -> Any:
        """Send a call and wait for its result. Raises like `begin` and `wait`."""
        return self.wait(*self.begin(method, environment, *arguments), timeout_s)

    def give_up(self, number: int) -> None:
        """Stop waiting for a call. Whoever waits for it gets an `InfrastructureError`."""
        with self._lock:
            call = self._pending.pop(number, None)
            if call is not None and self.is_alive:
                self._leaked.add(number)
        if call is not None and not call[1].done():
            call[1].set_exception(InfrastructureError("the environment was closed during the call"))

    def stop(self) -> None:
        """End the process and all processes of its environments: at once if it is dead, else after they are closed."""
        assert self._process.stdin is not None
        with self._lock:
            self._death = self._death or f"{self._name} was stopped"
        with self._write_lock:
            self._process.stdin.close()

    def join(self) -> None:
        """Wait for the end of a stopped process and of all that its environments have started."""
        self._reader.join()

    def kill(self, reason: str) -> None:
        """Kill a process that hangs; all its calls fail with ``reason``."""
        self._fail(reason)
        self._process.terminate()  # the keeper kills all that belongs to it

    def require_answer(self) -> None:
        """Kill the process if it gives no sign of life, because a call holds Python's interpreter lock."""
        limit_s = self._policy.answer_timeout_s
        try:
            number, future = self.begin("ping", 0)
            future.result(limit_s)
        except TimeoutError:
            with self._lock:
                self._pending.pop(number, None)
            self.kill(f"{self._name} gave no sign of life within {limit_s:g} s and was killed")
        except InfrastructureError:
            return

    def _require_alive(self) -> None:
        if self._death:
            raise InfrastructureError(self._death)

    def _send(self, message: Mapping[str, object]) -> None:
        """Write a line. A process that does not read is killed."""
        data, deadline_s = json.dumps(message).encode() + b"\n", time.monotonic() + self._policy.answer_timeout_s
        assert self._process.stdin is not None
        writable = select.poll()
        with self._write_lock:  # another one, so that answers are taken meanwhile
            while data and not self._death:
                descriptor = self._process.stdin.fileno()
                writable.register(descriptor, select.POLLOUT)
                if not writable.poll(max(0.0, 1000 * (deadline_s - time.monotonic()))):
                    break
                try:
                    data = data[os.write(descriptor, data) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:  # the reader of the answers says why
                    return
        if data and not self._death:
            self.kill(f"{self._name} read nothing for {self._policy.answer_timeout_s:g} s and was killed")

    def _read(self) -> None:
        """Take answers until the process ends."""
        assert self._process.stdout is not None
        try:
            with self._process.stdout as answers:
                for line in answers:
                    self._settle(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.kill(f"{self._name} sent an answer that cannot be read ({type(error).__name__}) and was killed")
        self._reap()

    def _settle(self, answer: Mapping[str, Any]) -> None:
        number = answer["id"]
        with self._lock:
            self._leaked.discard(number)
            method, future = self._pending.pop(number, ("", None))
        if future is None:
            return
        try:
            if "error" in answer:
                future.set_exception(decode_error(answer["error"]))
            else:
                future.set_result(decode_result(method, answer["result"]))
        except BaseException:
            self._pending[number] = method, future  # it fails with the others
            raise

    def _reap(self) -> None:
        """Wait for the keeper after the last answer."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S + _REAP_TIMEOUT_S)
        code = self._process.returncode
        if code is None or code < 0:
            self._kill_rest()
            code = self._process.returncode
        self._fail(f"{self._name} ended with code {code if code < 128 else code - 256}")

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._death = self._death or reason
            pending, self._pending = list(self._pending.values()), {}
            self._leaked.clear()
        for _, future in pending:
            future.set_exception(InfrastructureError(self._death))

    def _kill_rest(self) -> None:
        """Kill what a keeper that was killed or hangs has left: its process group, and all processes with its mark."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    process.kill()
