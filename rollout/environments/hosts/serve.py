"""The loop of a host process: it makes environments and calls their methods, each environment in its own thread.

Its threads stay with their environments, so an environment may use what is bound to one thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from rollout.environment import (
    ABILITIES,
    Environment,
    Task,
    action_templates,
    checked_actions,
    checked_reset,
    checked_step,
    class_name,
    fork_of,
    open_actions,
    passages_of,
)
from rollout.environments.hosts.wire import Description, Hello, Request, encode_error, encode_result
from rollout.environments.plugins import find_plugin

CLOSE_TIMEOUT_S = 5.0
"""Time for all environments together to close when the worker has ended."""
_CALLS: Mapping[str, Callable[..., Any]] = {
    "reset": lambda environment, task: checked_reset(environment, Task(**task)),
    "step": checked_step,
    "admissible_actions": lambda environment: _texts(checked_actions(environment)),
    "open_actions": lambda environment: _texts(open_actions(environment)),
    "passages": lambda environment, k: _texts(passages_of(environment, k)),
}


class Answers:
    """The pipe to the worker. Thread-safe.

    A process that an environment forks has a copy of this object. It writes nothing and ends here.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._lock, self._pid = pipe, Lock(), os.getpid()

    def write(self, line: bytes) -> None:
        if os.getpid() != self._pid:
            os._exit(0)
        with self._lock:
            self._pipe.write(line)
            self._pipe.flush()


class Resident:
    """An environment and the thread that calls it. A copy starts when its original has made it."""

    def __init__(self, host: Host, make: Callable[[], Environment] | None = None) -> None:
        self._host, self._make = host, make
        self._environment: Environment | None = None
        self.requests: SimpleQueue[Request] = SimpleQueue()
        self.thread = Thread(target=self._work, daemon=True)

    def start(self, environment: Environment | None = None) -> None:
        self._environment = environment
        self.thread.start()

    def _work(self) -> None:
        method = ""
        while method != "close":
            request = self.requests.get()
            method = request.method
            try:
                line = _line(request, result=encode_result(self._call(request)))
            except BaseException as error:  # also SystemExit: the worker must learn of it
                line = _line(request, error=encode_error(error))
            self._host.answers.write(line)

    def _call(self, request: Request) -> Any:
        if request.method == "close":
            if self._environment is not None:
                self._environment.close()
            return None
        if request.method == "create":
            assert self._make is not None
            self._environment = self._make()
            return describe(self._environment)
        assert self._environment is not None, "the environment was not made"
        if request.method == "fork":
            copy = fork_of(self._environment)
            self._host.residents[request.arguments[0]].start(copy)
            return describe(copy)
        return _CALLS[request.method](self._environment, *request.arguments)


class Host:
    """All environments of the process, by number."""

    def __init__(self, make: Callable[[], Environment], answers: Answers) -> None:
        self._make, self.answers = make, answers
        self.residents: dict[int, Resident] = {}

    def serve(self, requests: IO[bytes]) -> None:
        """Answer requests until the worker closes the pipe or ends; then close all environments."""
        for line in requests:
            self._route(Request.model_validate(json.loads(line)))
        residents = list(self.residents.values())
        for resident in residents:
            resident.requests.put(Request(id=-1, environment=-1, method="close"))
        for resident in residents:
            if resident.thread.is_alive():
                resident.thread.join(CLOSE_TIMEOUT_S / len(residents))

    def _route(self, request: Request) -> None:
        if request.method == "ping":
            self.answers.write(_line(request, result=None))
            return
        if request.method == "create":
            self.residents[request.environment] = Resident(self, self._make)
            self.residents[request.environment].start()
        if request.method == "fork":  # known from now on, so that a copy that comes late can be closed
            self.residents[request.arguments[0]] = Resident(self)
        resident = self.residents[request.environment]
        if request.method == "close":
            del self.residents[request.environment]
        resident.requests.put(request)


def describe(environment: Environment) -> Description:
    """What an environment offers. Raises `TypeError` if it is no environment."""
    if not isinstance(environment, Environment):
        raise TypeError(f"{type(environment).__name__} is no environment: it lacks a method")
    offered = {name for name in ABILITIES if getattr(environment, name, None) is not None}
    abilities = frozenset(offered - {"blocking"})  # that is said by the host
    return Description(
        class_name=class_name(environment), abilities=abilities, action_templates=action_templates(environment)
    )


def run(hello: Hello, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Serve the environments of ``hello.config``."""

    def make() -> Environment:
        plugin = find_plugin(str(hello.config.get("type")))
        return plugin.make_environment(plugin.config_model().model_validate(hello.config))

    Host(make, Answers(answers)).serve(requests)


def _line(request: Request, **answer: object) -> bytes:
    return json.dumps({"id": request.id, **answer}).encode() + b"\n"


def _texts(texts: object) -> list[str] | None:
    return None if texts is None else [str(text) for text in texts]  # type: ignore[attr-defined]
