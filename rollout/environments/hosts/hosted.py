"""Environments that run in host processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from threading import Lock
from typing import Any

from pydantic import BaseModel

from rollout.environment import ABILITIES, Reset, Step, Task
from rollout.environments.hosts.config import HostPolicy
from rollout.environments.hosts.process import HostProcess
from rollout.environments.hosts.wire import Description, Hello
from rollout.errors import EpisodeError, InfrastructureError, UserError


class EnvironmentHosts:
    """Host processes for the environments of one config, started when they are needed. Thread-safe.

    Args:
        config: config of the environments.
        policy: limits of a host.
        create_timeout_s: limit for creating an environment, with the start of its host.
        call_timeout_s: limit for any other call.
    """

    def __init__(self, config: BaseModel, policy: HostPolicy, create_timeout_s: float, call_timeout_s: float) -> None:
        self.create_timeout_s, self.call_timeout_s = create_timeout_s, call_timeout_s
        self._config, self._policy = config, policy
        self._lock, self._numbers = Lock(), count(1)
        self._hosts: list[HostProcess] = []
        self._stopped: list[HostProcess] = []

    def create(self) -> HostedEnvironment:
        """Create an environment; blocks until it is ready.

        Raises:
            TimeoutError, InfrastructureError, EpisodeError, UserError: as `HostProcess.wait`.
        """
        return HostedEnvironment(self)

    def place(self) -> tuple[HostProcess, int]:
        """A host with room for an environment, and the environment's number in it. Starts a host if none has room."""
        with self._lock:
            host = next((host for host in self._hosts if host.has_room), None)
            if host is None:
                config = self._config.model_dump(mode="json")
                host = HostProcess(Hello(import_path=tuple(sys.path), config=config), self._policy)
                self._hosts.append(host)
            host.environments.add(number := next(self._numbers))
            return host, number

    def place_copy(self, host: HostProcess) -> int:
        """Number of a further environment of ``host``, which has no limit for copies."""
        with self._lock:
            host.environments.add(number := next(self._numbers))
            return number

    def leave(self, host: HostProcess, environment: int) -> None:
        """Give a place up. A host that takes no further episodes ends with its last environment."""
        with self._lock:
            host.environments.discard(environment)
            is_over = not host.takes_episodes and not host.environments and host in self._hosts
            if is_over or not host.is_alive:
                self._retire(host)

    def stop(self) -> None:
        """End all hosts, also those whose environments are not closed; blocks until no process is left."""
        with self._lock:
            for host in list(self._hosts):
                self._retire(host)
            stopped, self._stopped = self._stopped, []
        for host in stopped:
            host.join()

    def _retire(self, host: HostProcess) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
            self._stopped = [other for other in self._stopped if not other.has_ended] + [host]
            host.stop()


class HostedEnvironment:
    """An environment in a host process (`rollout.environment.Environment`), with a limit on each call.

    An episode keeps its host. The next one starts in another host if this one has died or is to be replaced.
    """

    def __init__(self, hosts: EnvironmentHosts) -> None:
        self._hosts = hosts
        self._is_busy, self._running = False, 0
        self._host, self._number = hosts.place()
        self._description = self._create()

    @property
    def hosted_class(self) -> str:
        """Name of the environment's class, for messages."""
        return self._description.class_name

    def reset(self, task: Task) -> Reset:
        if not self._host.takes_episodes:
            self._move()
        self._host.episodes += 1
        start: Reset = self._call("reset", asdict(task))
        return start

    def step(self, action: str) -> Step:
        step: Step = self._call("step", action)
        return step

    def admissible_actions(self) -> Sequence[str] | None:
        actions: Sequence[str] | None = self._call("admissible_actions")
        return actions

    def close(self) -> None:
        """Close the environment. A call that has not returned is given up, and the environment is closed after it."""
        number, self._number = self._number, 0
        if not number:
            return
        try:
            if self._is_busy:
                self._host.give_up(self._running)
                self._host.begin("close", number)
                self._host.require_answer()
            else:
                self._host.call("close", number, timeout_s=self._hosts.call_timeout_s)
        except InfrastructureError:
            return  # the host has died, and the environment with it
        finally:
            self._hosts.leave(self._host, number)

    def __getattr__(self, name: str) -> Any:
        """An optional ability. Raises `AttributeError` if the environment has none of this name."""
        if name not in ABILITIES or name not in self._description.abilities:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name == "action_templates":
            return self._description.action_templates
        return self._fork if name == "fork" else partial(self._call, name)

    def _fork(self) -> HostedEnvironment:
        """A copy in the same host."""
        twin = object.__new__(HostedEnvironment)
        twin._hosts, twin._host = self._hosts, self._host
        twin._is_busy, twin._running = False, 0
        twin._number = self._hosts.place_copy(self._host)
        twin._description = self._description
        try:
            self._call("fork", twin._number)
        except BaseException:
            twin._abandon()
            raise
        return twin

    def _create(self) -> Description:
        try:
            description: Description = self._host.call("create", self._number, timeout_s=self._hosts.create_timeout_s)
        except BaseException:
            self._abandon()
            raise
        return description

    def _move(self) -> None:
        """Close the environment and create it in another host."""
        self.close()
        self._host, self._number = self._hosts.place()
        self._description = self._create()

    def _abandon(self) -> None:
        """Close an environment whose creation failed, whenever it is there."""
        number, self._number = self._number, 0
        try:
            self._host.begin("close", number)
        except InfrastructureError:
            return
        finally:
            self._hosts.leave(self._host, number)

    def _call(self, method: str, *arguments: object) -> Any:
        if not self._number:
            raise RuntimeError("the environment is closed")
        self._is_busy = True
        self._running, future = self._host.begin(method, self._number, *arguments)
        if not self._number:  # closed by another thread meanwhile
            self._host.give_up(self._running)
        try:
            result = self._host.wait(self._running, future, self._hosts.call_timeout_s)
        except (EpisodeError, UserError):
            self._is_busy = False
            raise
        self._is_busy = False  # after any other exception, the call may still run
        return result
