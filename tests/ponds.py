"""An environment of another package, whose actions do what environments should not do."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rollout.environment import Reset, Step, Task
from rollout.environments.plugin import EnvironmentPlugin
from rollout.errors import AgentError, InfrastructureError, SetupError, UserError
from rollout.frozen_model import FrozenModel
from tests.distributions import install

TASK = Task("pond/0", "pond", "train", "fish", {"depth_m": 2.5, "name": "grün", "frozen": False, "owner": None})
ERRORS: dict[str, Callable[[], BaseException]] = {
    "KeyError": lambda: KeyError("moon"),
    "AgentError": lambda: AgentError("no fish is that large"),
    "ConnectionResetError": lambda: ConnectionResetError("gone"),
    "FileNotFoundError": lambda: FileNotFoundError(2, "no such pond", "moon"),
    "InfrastructureError": lambda: InfrastructureError("the server of ponds is down"),
    "UserError": lambda: UserError("set depth_m"),
    "SetupError": lambda: SetupError("the key of the pond is wrong"),
    "StopIteration": lambda: StopIteration("no more fish"),
    "SystemExit": lambda: SystemExit(3),
}


class PondConfig(FrozenModel):
    """Settings of the pond."""

    type: Literal["pond"] = "pond"
    bad_close: bool = False


class Pond:
    """Counts its steps. ``fork`` copies it."""

    action_templates = ("cast {}",)

    def __init__(self, config: PondConfig) -> None:
        self.config, self.steps, self.thread = config, 0, threading.get_ident()

    def reset(self, task: Task) -> Reset:
        self.steps = 0
        print("a pond writes to its stdout")
        return Reset(f"{task.payload}", f"fish for {task.id}")

    def step(self, action: str) -> Step:
        self.steps += 1
        verb, _, rest = action.partition(" ")
        method: Callable[[str], Any] = getattr(self, f"do_{verb}", self.do_nothing)
        made: Step = method(rest)
        return made

    def admissible_actions(self) -> Sequence[str] | None:
        return ["cast a net", "wait"]

    def open_actions(self) -> Sequence[str]:
        return ("cast {}",)

    def passages(self, k: int) -> Sequence[str]:
        return ["Fish swim.", "Water is wet."][:k]

    def fork(self) -> Pond:
        twin = Pond(self.config)
        twin.steps = self.steps
        return twin

    def close(self) -> None:
        if self.config.bad_close:
            raise OSError("the pond is frozen")

    def do_nothing(self, rest: str) -> Step:
        return Step(f"{rest} {self.steps}", 0.5, True, True, False, "plain", {"fish": 2}, "a fish")

    def do_pid(self, rest: str) -> Step:
        return Step(str(os.getpid()))

    def do_thread(self, rest: str) -> Step:
        return Step(str(threading.get_ident() == self.thread))

    def do_raise(self, rest: str) -> Step:
        raise ERRORS[rest]()

    def do_garbage(self, rest: str) -> Any:
        return {"nothing": None, "text": "a fish", "fields": Step(None), "nan": Step("", float("nan"))}[rest]  # type: ignore[arg-type]

    def do_read(self, rest: str) -> Step:
        return Step(repr(os.read(0, 100)))

    def do_fork(self, rest: str) -> Step:
        """Returns twice."""
        os.fork()
        return Step(f"forked at step {self.steps}")

    def do_start(self, rest: str) -> Step:
        """Start a process in a session of its own."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        return Step(str(child.pid))

    def do_wait(self, rest: str) -> Step:
        """Return when a file exists."""
        while not Path(rest).exists():
            time.sleep(0.01)
        return Step("It exists.")

    def do_hang(self, rest: str) -> Step:
        """Hold the interpreter lock."""
        ctypes.PyDLL(None).sleep(600)
        return Step("")

    def do_die(self, rest: str) -> Step:
        os.kill(os.getpid(), signal.SIGKILL)
        return Step("")


POND = EnvironmentPlugin(
    name="pond",
    description="a pond with fish",
    config="tests.ponds:PondConfig",
    environment="tests.ponds:Pond",
    tasks="tests.ponds:no_tasks",
    instructions="tests.ponds:INSTRUCTIONS",
)
INSTRUCTIONS = {"short": "Fish.", "full": "Fish."}


def install_ponds(folder: Path) -> None:
    """Register the environment in a folder that is to be on ``sys.path``."""
    install(folder, "ponds", {"stillhouse.environments": {"pond": "tests.ponds:POND"}})
