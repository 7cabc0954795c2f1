"""The sandbox put to the test: every hostile program must be contained, by what can be seen from outside.

Contained means: it did not get what it wanted, no planted secret is in what it said, no file, connection or process is
left outside, the worker goes on, and the next episode computes what it should.
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
"""Of a machine that is busy with other things."""
_HEALTHY = (
    "import os, sympy, numpy\nx = sympy.Symbol('x')\n"
    "print(sympy.expand((x + 1)**2), numpy.sum([1, 2]), os.listdir('.'))"
)
_HEALTHY_OUTPUT = "x**2 + 2*x + 1 3 []\n"


@dataclass(frozen=True, slots=True)
class AttackResult:
    """How one attack went. ``fault`` says what was not contained; empty if all was."""

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
        config: the tier and the limits; time limits are those of the attacks.
        attacks: which.
        threads: how many at once.

    Raises:
        UserError: no tier that the config allows works here.
    """
    with _stage() as stage, open_sandbox(config or SandboxConfig()) as sandbox, ThreadPoolExecutor(threads) as pool:
        sandbox.start()
        with stage.victim(sandbox):
            results = list(pool.map(lambda attack: _run(attack, sandbox, stage), attacks))
    return results


def measure_call_ms(config: SandboxConfig | None = None, calls: int = 200) -> float:
    """Median wall milliseconds of a piece of code that uses sympy, in one interpreter. Raises `UserError`."""
    took = []
    with open_sandbox(config or SandboxConfig()) as sandbox, sandbox.session() as session:
        session.run("import sympy\nx = sympy.Symbol('x')")
        for number in range(calls):
            began = time.perf_counter()
            result = session.run(f"sympy.expand((x + {number})**3)")
            took.append((time.perf_counter() - began) * 1000)
            if result.value is None:
                raise RuntimeError(f"the interpreter did not compute: {result.error}")
    return statistics.median(took)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the attacks aim at: files and a secret, sockets that nobody should call."""

    folder: Path
    secret: str
    listeners: tuple[socket.socket, ...]
    port: int
    socket_name: str

    def fill_in(self, code: str) -> str:
        places = {
            "@RUN@": str(self.folder),
            "@HOME@": _home(),
            "@PORT@": str(self.port),
            "@SOCKET@": self.socket_name,
            "@WORKER@": str(os.getpid()),
        }
        for name, value in places.items():
            code = code.replace(name, value)
        return code

    @contextmanager
    def victim(self, sandbox: Sandbox) -> Iterator[None]:
        """Another episode that is under way and has a secret in a file."""
        with sandbox.session() as session:
            session.run(f"open('victim.txt', 'w').write({self.secret!r})")
            yield

    def repair(self) -> None:
        """Put the precious file right, so that the next attack is judged by itself."""
        precious = self.folder / "precious.txt"
        precious.write_text("precious")
        precious.chmod(0o644)
        os.utime(precious)

    def fault(self) -> str:
        """What has been done outside; empty if nothing."""
        names = sorted(path.name for path in self.folder.iterdir())
        precious = self.folder / "precious.txt"
        if names != ["precious.txt", "secret.txt", "socket"] or precious.read_text() != "precious":
            return f"the run directory was changed: {', '.join(names)}"
        if precious.stat().st_mtime < 1000 or precious.stat().st_mode & 0o777 != 0o644:
            self.repair()
            return "a file's mode or time was changed"
        planted = [folder for folder in ("/", "/etc", "/var/tmp", "/dev/shm", _home()) if _planted(folder)]
        return f"a file was left in {planted[0]}" if planted else self._called()

    def _called(self) -> str:
        for listener in self.listeners:
            try:
                listener.recv(1) if listener.type is socket.SOCK_DGRAM else listener.accept()[0].close()
            except BlockingIOError:
                continue
            return "a socket of this machine was reached"
        return ""


@contextmanager
def _stage() -> Iterator[_Stage]:
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
        stage = _Stage(folder, secret, tuple(listeners), internet.getsockname()[1], name)
        stage.repair()
        yield stage


def _run(attack: Attack, sandbox: Sandbox, stage: _Stage) -> AttackResult:
    began = time.monotonic()
    with sandbox.session({"search": _search}) as session:
        session.run(PRELUDE)
        fault = _attack(attack, session, stage)
    fault = fault or stage.fault() or _next_episode(sandbox)
    return AttackResult(attack.name, attack.aim, fault, time.monotonic() - began)


def _attack(attack: Attack, session: Session, stage: _Stage) -> str:
    for code in filter(None, (attack.code, attack.then)):
        began = time.monotonic()
        result = session.run(stage.fill_in(code), attack.limit_s)
        if time.monotonic() - began > attack.limit_s + GRACE_S + _SLACK_S:
            return "it was not ended in time"
        if fault := _said(result, stage.secret):
            return fault
    return ""


def _said(result: CallResult, secret: str) -> str:
    said = "\n".join(filter(None, (result.stdout, result.value, result.error, result.final_answer)))
    if secret in said:
        return "it has found a secret"
    if "ESCAPED" in said:
        return next(line for line in said.splitlines() if "ESCAPED" in line)[:200]
    return "it passed a forged result off" if result.final_answer == "forged" else ""


def _next_episode(sandbox: Sandbox) -> str:
    with sandbox.session() as session:
        result = session.run(_HEALTHY, _SLACK_S)
    return "" if result.stdout == _HEALTHY_OUTPUT else f"the next episode was harmed: {result.error or result.stdout}"


def _home() -> str:
    """The user's home; /tmp, which some users have as theirs, is the scratch folder's name inside."""
    return str(Path.home()) if Path.home() != Path("/tmp") else "/home"


def _planted(folder: str) -> bool:
    return Path(folder, "planted-by-hostile-code").exists()


def _search(query: str) -> str:
    return f"found {query}"
