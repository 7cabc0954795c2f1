"""Processes and file descriptors of a sandbox end with its worker or with `close`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.tiers import available_tiers
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[4]
BARE = SandboxConfig(packages=(), preload=())
WORKER = """
import sys, time
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.sandbox import Sandbox
sandbox = Sandbox(SandboxConfig(packages=(), preload=()), Tier(sys.argv[1]))
session = sandbox.session()
copy = session.fork()
print(session.run("1").value, copy.run("2").value, flush=True)
session.run("while True: pass", time_limit_s=600)
"""
WORKING = [status.tier for status in available_tiers() if status.works]


def descendants(pid: int) -> set[int]:
    """All descendant processes of ``pid``."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def state(pid: int) -> str:
    """The state letter that ``ps`` shows; X if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def wait_until_gone(pids: set[int]) -> None:
    wait_until(lambda: all(state(pid) in "ZX" for pid in pids), f"the end of processes {sorted(pids)}")


@pytest.mark.parametrize("tier", WORKING)
def test_everything_dies_with_the_worker_even_if_it_is_killed(tier: Tier) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, tier], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == "1 2\n"
        below = descendants(worker.pid)
        assert len(below) >= 3
        worker.kill()
        worker.wait()
        wait_until_gone(below)


@pytest.mark.parametrize("tier", WORKING)
def test_closing_leaves_no_process_and_no_descriptor(tier: Tier) -> None:
    before, others = len(os.listdir("/proc/self/fd")), descendants(os.getpid())
    sandbox = Sandbox(BARE, tier)
    session = sandbox.session()
    copy = session.fork()
    session.run("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()")
    below = descendants(os.getpid()) - others
    assert below
    copy.close()
    session.close()
    sandbox.close()
    wait_until_gone(below)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fork_server_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    before = descendants(os.getpid())
    with Sandbox(BARE, sandbox.tier) as own:
        session = own.session()
        session.run("x = 1")
        own_processes = descendants(os.getpid()) - before
        assert own_processes
        for pid in own_processes:
            with suppress(ProcessLookupError):  # the death of one ends those below it
                os.kill(pid, signal.SIGKILL)
        wait_until_gone(own_processes)
        assert session.run("x").lost
        assert "NameError" in str(session.run("x").error)
        session.close()
        with own.session() as again:
            assert again.run("1 + 1").value == "2"


def test_an_interpreter_is_stopped_between_calls(sandbox: Sandbox) -> None:
    others = descendants(os.getpid())
    with Sandbox(BARE, sandbox.tier) as own, own.session() as session:
        session.run("import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()")
        own_processes = descendants(os.getpid()) - others
        wait_until(lambda: "T" in map(state, own_processes), "a stopped interpreter")
