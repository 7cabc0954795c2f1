"""Runs hostile programs in the sandbox and checks from outside that each one is contained.

A program is contained if its attempt fails, its output holds no planted secret, no file, connection or process is left
outside, the worker keeps running, and the next episode computes correct results.
"""

from __future__ import annotations

import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.hostile import PRELUDE, Aim, Attack
from rollout.tools.sandbox.hostile_escapes import ESCAPE_ATTACKS
from rollout.tools.sandbox.hostile_resources import RESOURCE_ATTACKS
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.session import GRACE_S, CallResult, Session
from rollout.tools.sandbox.tiers import open_sandbox

ATTACKS: tuple[Attack, ...] = (*RESOURCE_ATTACKS, *ESCAPE_ATTACKS)
"""All hostile programs."""

_SECRET_NAME = "STILLHOUSE_ATTACK_SECRET"
_SLACK_S = 20.0
"""Extra time allowed on a busy machine."""
_HEALTHY = (
    "import os, sympy, numpy\nx = sympy.Symbol('x')\n"
    "print(sympy.expand((x + 1)**2), numpy.sum([1, 2]), os.listdir('.'))"
)
_HEALTHY_OUTPUT = "x**2 + 2*x + 1 3 []\n"


@dataclass(frozen=True, slots=True)
class AttackResult:
    """Result of one attack. ``fault`` describes what was not contained; empty if everything was."""

    name: str
    aim: Aim
    fault: str
    elapsed_s: float

    @property
    def contained(self) -> bool:
        return not self.fault


def run_attacks(
    config: SandboxConfig | None = None, attacks: Sequence[Attack] = ATTACKS, threads: int = 4
) -> list[AttackResult]:
    """Run every attack in an episode of its own, and a harmless episode after each.

    Args:
        config: the tier and the limits; each attack brings its own time limit.
        attacks: the attacks to run.
        threads: number of attacks that run at the same time.

    Raises:
        UserError: no tier that the config allows works on this machine.
    """
    with (
        _open_targets() as targets,
        open_sandbox(config or SandboxConfig()) as sandbox,
        ThreadPoolExecutor(threads) as pool,
    ):
        sandbox.start()
        with targets.victim(sandbox):
            results = list(pool.map(lambda attack: _run(attack, sandbox, targets), attacks))
    return results


def measure_call_ms(config: SandboxConfig | None = None, calls: int = 200) -> float:
    """Median wall-clock milliseconds of a sympy call in one interpreter. Raises `UserError`."""
    durations_ms = []
    with open_sandbox(config or SandboxConfig()) as sandbox, sandbox.session() as session:
        session.run("import sympy\nx = sympy.Symbol('x')")
        for number in range(calls):
            started = time.perf_counter()
            result = session.run(f"sympy.expand((x + {number})**3)")
            durations_ms.append((time.perf_counter() - started) * 1000)
            if result.value is None:
                raise RuntimeError(f"the interpreter did not compute: {result.error}")
    return statistics.median(durations_ms)


@dataclass(frozen=True, slots=True)
class _Targets:
    """Targets of the attacks: files, a secret, and sockets that must not be reached."""

    folder: Path
    secret: str
    listeners: tuple[socket.socket, ...]
    port: int
    socket_name: str

    def substitute(self, code: str) -> str:
        placeholders = {
            "@RUN@": str(self.folder),
            "@HOME@": _home(),
            "@PORT@": str(self.port),
            "@SOCKET@": self.socket_name,
            "@WORKER@": str(os.getpid()),
        }
        for name, value in placeholders.items():
            code = code.replace(name, value)
        return code

    @contextmanager
    def victim(self, sandbox: Sandbox) -> Iterator[None]:
        """Run another episode that has a secret in a file."""
        with sandbox.session() as session:
            session.run(f"open('victim.txt', 'w').write({self.secret!r})")
            yield

    def restore(self) -> None:
        """Restore the precious file, so that the next attack is judged on its own."""
        precious = self.folder / "precious.txt"
        precious.write_text("precious")
        precious.chmod(0o644)
        os.utime(precious)

    def fault(self) -> str:
        """The change found outside the sandbox; empty if there is none."""
        names = sorted(path.name for path in self.folder.iterdir())
        precious = self.folder / "precious.txt"
        if names != ["precious.txt", "secret.txt", "socket"] or precious.read_text() != "precious":
            return f"the run directory was changed: {', '.join(names)}"
        if precious.stat().st_mtime < 1000 or precious.stat().st_mode & 0o777 != 0o644:
            self.restore()
            return "a file's mode or time was changed"
        folders = ("/", "/etc", "/var/tmp", "/dev/shm", _home())
        planted = [folder for folder in folders if Path(folder, "planted-by-hostile-code").exists()]
        return f"a file was left in {planted[0]}" if planted else self._reached_socket()

    def _reached_socket(self) -> str:
        for listener in self.listeners:
            try:
                listener.recv(1) if listener.type is socket.SOCK_DGRAM else listener.accept()[0].close()
            except BlockingIOError:
                continue
            return "a socket of this machine was reached"
        return ""


@contextmanager
def _open_targets() -> Iterator[_Targets]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhouse-run-")))
        secret, name = secrets.token_hex(16), f"stillhouse-{secrets.token_hex(8)}"
        (folder / "secret.txt").write_text(secret)
        internet = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listeners = [internet]
        for address in (f"\0{name}", str(folder / "socket")):
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
            listeners[-1].bind(address)
        for listener in listeners:
            listener.setblocking(False)
        os.environ[_SECRET_NAME] = secret
        stack.callback(os.environ.pop, _SECRET_NAME)
        targets = _Targets(folder, secret, tuple(listeners), internet.getsockname()[1], name)
        targets.restore()
        yield targets


def _run(attack: Attack, sandbox: Sandbox, targets: _Targets) -> AttackResult:
    started = time.monotonic()
    with sandbox.session({"search": lambda query: f"found {query}"}) as session:
        session.run(PRELUDE)
        fault = _attack_fault(attack, session, targets)
    fault = fault or targets.fault() or _next_episode_fault(sandbox)
    return AttackResult(attack.name, attack.aim, fault, time.monotonic() - started)


def _attack_fault(attack: Attack, session: Session, targets: _Targets) -> str:
    for code in filter(None, (attack.code, attack.follow_up)):
        started = time.monotonic()
        result = session.run(targets.substitute(code), attack.limit_s)
        if time.monotonic() - started > attack.limit_s + GRACE_S + _SLACK_S:
            return "it was not stopped in time"
        if fault := _output_fault(result, targets.secret):
            return fault
    return ""


def _output_fault(result: CallResult, secret: str) -> str:
    output = "\n".join(filter(None, (result.stdout, result.value, result.error, result.final_answer)))
    if secret in output:
        return "it found a secret"
    if "ESCAPED" in output:
        return next(line for line in output.splitlines() if "ESCAPED" in line)[:200]
    return "a forged result was accepted" if result.final_answer == "forged" else ""


def _next_episode_fault(sandbox: Sandbox) -> str:
    with sandbox.session() as session:
        result = session.run(_HEALTHY, _SLACK_S)
    return "" if result.stdout == _HEALTHY_OUTPUT else f"the next episode was affected: {result.error or result.stdout}"


def _home() -> str:
    """The user's home; ``/home`` if that is /tmp, which is the scratch folder inside the sandbox."""
    return str(Path.home()) if Path.home() != Path("/tmp") else "/home"
