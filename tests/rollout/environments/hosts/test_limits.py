"""A host that dies or hangs takes only its own episodes along, is replaced, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from rollout.environment import Environment
from rollout.errors import InfrastructureError
from tests.distributions import ROOT
from tests.ponds import TASK, install_ponds
from tests.rollout.environments.hosts.conftest import MakeHosts
from tests.waiting import wait_until


def pid_of(environment: Environment) -> int:
    return int(environment.step("pid").observation)


def started(environment: Environment) -> Environment:
    environment.reset(TASK)
    return environment


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_host_has_a_limited_number_of_environments(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(max_environments=2)
    first, second, third = (started(hosts.create()) for _ in range(3))
    assert pid_of(first) == pid_of(second) != pid_of(third)
    first.close()
    assert pid_of(started(hosts.create())) == pid_of(second)


def test_a_host_is_replaced_after_a_number_of_episodes(make_hosts: MakeHosts) -> None:
    hosts = make_hosts(recycle_after_episodes=2)
    kept, reused = started(hosts.create()), started(hosts.create())
    old = pid_of(kept)
    assert pid_of(reused) == old
    assert pid_of(started(reused)) != old
    assert kept.step("look").observation == " 2", "an episode keeps its host"
    kept.close()
    wait_until(lambda: is_gone(old), "the end of the host")


def test_a_call_that_exceeds_its_limit_fails_and_the_others_go_on(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(call_timeout_s=0.5, max_leaked_calls=2)
    kept, old = started(hosts.create()), 0
    for number in range(2):
        slow = started(hosts.create())
        old = pid_of(slow)
        assert old == pid_of(kept)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.5 s"):
            slow.step(f"wait {tmp_path / str(number)}")
        slow.close()
    assert pid_of(started(hosts.create())) != old, "two calls have leaked"
    assert pid_of(kept) == old
    (tmp_path / "0").touch()
    wait_until(lambda: kept.step("look") and hosts._hosts[0].takes_episodes, "the return of a leaked call")


def test_a_call_that_runs_when_its_environment_is_closed_leaks(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(max_leaked_calls=1)
    slow = started(hosts.create())
    old = pid_of(slow)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(slow.step, f"wait {tmp_path / 'never'}")
        wait_until(lambda: hosts._hosts[0]._pending, "the call")
        slow.close()
        assert isinstance(running.exception(), InfrastructureError)
    assert pid_of(started(hosts.create())) != old
    wait_until(lambda: is_gone(old), "the end of the host")


@pytest.mark.parametrize("how", ["die", "hang"])
def test_a_host_that_dies_or_hangs_fails_its_calls_and_the_next_episodes_have_another(
    make_hosts: MakeHosts, tmp_path: Path, how: str
) -> None:
    hosts = make_hosts(call_timeout_s=1.0 if how == "hang" else 60.0, answer_timeout_s=0.5)
    idle, busy, bad = (started(hosts.create()) for _ in range(3))
    old, child = pid_of(bad), int(bad.step("start").observation)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(busy.step, f"wait {tmp_path / 'never'}")
        with pytest.raises((InfrastructureError, TimeoutError)):
            bad.step(how)
        assert isinstance(running.exception(), InfrastructureError | TimeoutError)
    with pytest.raises(InfrastructureError, match="the host process of pond "):
        idle.step("look")
    for environment in (busy, bad):
        environment.close()
    wait_until(lambda: is_gone(old) and is_gone(child), "the end of all processes")
    assert started(idle).step("look").observation == " 1"


def test_no_process_is_left_when_hosts_stop(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(call_timeout_s=0.2)
    pond = started(hosts.create())
    pids = [pid_of(pond), int(pond.step("start").observation)]
    pids.append(psutil.Process(pids[0]).ppid())
    with pytest.raises(TimeoutError):
        pond.step(f"wait {tmp_path / 'never'}")
    hosts.stop()
    assert all(map(is_gone, pids))


WORKER = """
import sys
from rollout.environments.hosts.config import HostPolicy
from rollout.environments.hosts.hosted import EnvironmentHosts
from tests.ponds import TASK, PondConfig
pond = EnvironmentHosts(PondConfig(), HostPolicy(), 60, 60).create()
pond.reset(TASK)
print(*(pond.step(action).observation for action in ("pid", "start")), flush=True)
if sys.argv[1] == "raise":
    raise ValueError("a bug of the worker")
try:
    pond.step("hang")
except Exception:
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["raise", "worker", "keeper"])
def test_no_process_is_left_when_a_worker_or_a_keeper_ends(tmp_path: Path, how: str) -> None:
    install_ponds(tmp_path)
    path = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-c", WORKER, how]
    with subprocess.Popen(command, env=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        host, child = map(int, worker.stdout.readline().split())
        keeper = psutil.Process(host).ppid()
        if how != "raise":
            os.kill(worker.pid if how == "worker" else keeper, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, (host, keeper, child))), "the end of all processes")
