"""A worker process exits when its owner has ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

CHILD = """
import sys, time
from rollout.engines.vllm_worker import WorkerExtension
WorkerExtension().exit_with(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(300)
"""
OWNER = "import time; time.sleep(300)"


def test_a_process_ends_when_its_owner_is_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER])
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(owner.pid)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    ended = os.pidfd_open(child.pid)
    assert select.select([ended], [], [], 0.3)[0] == []
    owner.send_signal(signal.SIGKILL)  # not reaped: a zombie process counts as ended
    assert select.select([ended], [], [], 60.0)[0] == [ended]
    owner.wait()
    child.wait()
    os.close(ended)
    child.stdout.close()
